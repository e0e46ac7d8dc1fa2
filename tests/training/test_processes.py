"""Several processes train as one does, stop together, and resume in another number. Each is a real process."""

import contextlib
import json
import re
import signal
import socket
import threading
import time

import jax
import pytest

from benchmarks import jobs
from benchmarks.jobs import ends, rows
from jaxrec.kernels import processes
from jaxrec.system.errors import UserError

KEYS = {
    "dataset": "synthetic:users=120",
    "model.dim": 8,
    "length": 16,
    "epochs": 20,
    "eval_every": 1,
    "patience": 0,
    "batch": 32,
    "steps_per_call": 1,
}


def start(workdir, number, devices, cluster=(), **keys):
    """Starts the processes of a job with this many devices each; `keys` are for all, "last" only for the last one."""
    last = jobs.keys(keys.pop("last", {}))
    argv = ["train", "--config", "sasrec_ml1m", "--workdir", workdir, *jobs.keys(KEYS | keys)]
    return jobs.start(argv, number, devices, last, cluster=cluster, cwd=workdir.parent)


def slurm(number, free):
    """The variables that SLURM sets for each task of a job on one node; JAX derives the port `free` from the job id."""
    of_job = {
        "SLURM_JOB_ID": str(free - (2**16 - 2**12)),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": str(number),
        "SLURM_NTASKS": str(number),
        "SLURM_NODEID": "0",
    }
    return [of_job | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)} for task in range(number)]


def open_mpi(number, free):
    """The variables that Open MPI sets for each process."""
    of_job = {"OMPI_MCA_orte_hnp_uri": f"{(free - (2**16 - 2**12)) << 12}.0;tcp://127.0.0.1:34911"}
    of_job |= {"OMPI_COMM_WORLD_SIZE": str(number), "OMPI_COMM_WORLD_LOCAL_SIZE": str(number)}
    place = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    return [of_job | dict.fromkeys(place, str(task)) for task in range(number)]


def free_port():
    """A free port among those that JAX uses on a cluster."""
    for port in range(2**16 - 2**12, 2**16):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port")


def assert_close(found, wanted):
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["valid"] == pytest.approx(theirs["valid"], abs=1e-3)


def begun(workdir, started, rows=1):
    """Waits until a row of metrics is written."""
    file = workdir / "metrics.jsonl"
    for _ in range(2400):
        if file.exists() and file.read_text().count("\n") >= rows:
            return
        assert all(each.poll() is None for each in started), ends(started)
        time.sleep(0.1)
    raise AssertionError("no row")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (("a:1", None, None), "go together"),
        ((None, 2, 1), "go together"),
        (("nowhere", 2, 0), "--coordinator nowhere: give HOST:PORT"),
        (("http://a:1", 2, 0), "--coordinator http://a:1: give HOST:PORT"),
        (("a:65536", 2, 0), "--coordinator a:65536: give HOST:PORT"),
        (("a:1", 2, 2), "--process is 2: of 2 processes it can be 0 to 1"),
    ],
)
def test_what_makes_no_job_is_refused(job, said):
    with pytest.raises(UserError, match=said):
        processes.join(*job)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (
            "127.0.0.1",
            "process 1 of 2 waited 0.005 minutes at 127.0.0.1:1, and not all were there: start every process",
        ),
        ("no.such.host.invalid", "--coordinator no.such.host.invalid:1: no machine of this name is known"),
    ],
)
def test_who_waits_says_so_and_ends_in_time(monkeypatch, capsys, host, said):
    ended = threading.Event()
    monkeypatch.setattr(processes, "MEETING", 0.3)
    monkeypatch.setattr(processes, "QUIET", 0.1)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: ended.wait())
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        processes.join(f"{host}:1", 2, 1)
    ended.set()
    assert f"process 1 of 2 waits for the others at {host}:1, up to 0.005 minutes" in capsys.readouterr().err


@pytest.mark.slow
def test_who_waits_can_be_interrupted(tmp_path):
    job = "--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process", "0"
    argv = ["train", "--config", "sasrec_ml1m", "--workdir", tmp_path / "w", *jobs.keys(KEYS)]
    (waiting,) = jobs.start(argv, 1, last=job, cwd=tmp_path)
    for line in waiting.stdout:
        if "process 0 of 2 waits for the others" in line:
            break
    waiting.send_signal(signal.SIGINT)
    [(status, said)] = ends([waiting], 60)
    assert status == 130 and said == "jaxrec train: interrupted\n", said


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The workdir of one process with two devices."""
    workdir = tmp_path_factory.mktemp("alone") / "w"
    [(status, said)] = ends(start(workdir, 1, 2))
    assert status == 0, said
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [{}, {"feed": "host"}, {"mesh.item": 2}, {"mesh.dense": "split"}],
    ids=["device", "host", "split", "split layers"],
)
def test_two_processes_train_as_one_with_as_many_devices(alone, tmp_path, keys):
    found = ends(start(tmp_path / "w", 2, 1, **keys))
    assert [status for status, _ in found] == [0, 0], found
    assert_close(rows(tmp_path / "w"), rows(alone))
    ours, theirs = (json.loads((each / "done.json").read_text())["test"] for each in (tmp_path / "w", alone))
    assert ours["users"] == theirs["users"] and ours["metrics"] == pytest.approx(theirs["metrics"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("told", [slurm, open_mpi])
def test_a_job_is_found_by_what_the_cluster_tells(alone, tmp_path, told):
    found = ends(start(tmp_path / "w", 2, 1, told(2, free_port())))
    assert [status for status, _ in found] == [0, 0], found
    assert_close(rows(tmp_path / "w"), rows(alone))


@pytest.mark.slow
def test_a_signal_to_one_saves_and_stops_all_and_another_number_goes_on(alone, tmp_path):
    workdir = tmp_path / "w"
    started = start(workdir, 2, 1)
    begun(workdir, started)
    started[1].send_signal(signal.SIGTERM)
    found = ends(started)
    assert [status for status, _ in found] == [143, 143], found
    assert [status for status, _ in ends(start(workdir, 1, 3))] == [0]
    assert_close(rows(workdir), rows(alone))


@pytest.mark.slow
def test_the_death_of_one_ends_the_others_and_nothing_saved_is_lost(alone, tmp_path):
    workdir = tmp_path / "w"
    started = start(workdir, 2, 1)
    begun(workdir, started)
    killed = time.monotonic()
    started[1].kill()
    found = ends(started)
    assert time.monotonic() - killed < 2 * processes.HEARTBEAT, found
    assert found[0][0] not in (0, 143), found
    assert [status for status, _ in ends(start(workdir, 2, 1))] == [0, 0]
    assert_close(rows(workdir), rows(alone))


@pytest.mark.slow
def test_processes_that_differ_are_refused_by_name(tmp_path):
    found = ends(start(tmp_path / "w", 2, 1, last={"model.dim": 16}))
    assert [status for status, _ in found] == [2, 2], found
    assert "process 1 differs from process 0 in config.model.dim: '16', not '8'" in found[1][1], found
    assert "process 1 differs from process 0 in config.model.dim: '16', not '8'" in found[0][1], found
