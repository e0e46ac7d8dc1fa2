"""Commands on workdirs in S3-like stores, in processes that are killed: the same as on local workdirs, bit for bit."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jaxrec
from benchmarks import resume
from jaxrec import cli
from jaxrec.system import objects
from jaxrec.training.workdirs import fetching, lease, snapshots

ROOT = Path(__file__).parents[2]
EPOCHS, MEMORY = 6, "memory://bucket"
#: runs the command line with locks that become stale sooner, and kills itself before the nth file that it puts or
#: removes
PROGRAM = """
import os, signal, sys
from jaxrec.system import objects
from jaxrec.training.workdirs import lease, mirror

lease.RENEW, lease.STALE, mirror.EVERY, left = 0.5, 3.0, 0.05, [int(sys.argv.pop(1))]
opened = objects.opened

def counted(address):
    store, root = opened(address)
    for name in ("put_file", "rm_file"):  # of a lock, which is renewed by the clock, no change counts
        def change(*args, change=getattr(store, name), **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **options)
        setattr(store, name, change)
    return store, root

objects.opened = counted
import jaxrec
from jaxrec import cli
cli.run()
"""
pytestmark = pytest.mark.slow


def start(workdir, cache, kill=0, job=()):
    """Starts a training in a process with its own cache, as on another machine. job: flags of a process of a job."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"JAXREC_CACHE": str(cache), "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    words = resume.command(workdir, EPOCHS)[2:]
    command = [sys.executable, "-c", PROGRAM, str(kill), "train", *words, *job]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(process, is_so):
    """Waits until `is_so()`, while the process runs."""
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def ended(process, status=0):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    ended(start(path / "run", path / "cache"))
    return path / "run"


def copied(address):
    return fetching.here(address, "latest", whole=True)


def assert_same(address, uninterrupted):
    assert resume.identical(resume.outcome(copied(address)), resume.outcome(uninterrupted))
    of = lambda path: json.loads((path / "done.json").read_text())["test"]["metrics"]
    assert of(copied(address)) == of(uninterrupted)


@pytest.mark.parametrize(
    ("kind", "kill"), [*(("s3", kill) for kill in (2, 20, 45, 70, 95)), ("gs", 20), ("gs", 70), ("az", 45)]
)
def test_killed_before_any_change_another_machine_goes_on(kind, kill, request, uninterrupted, tmp_path):
    address = f"{request.getfixturevalue(kind)}/runs/a"
    ended(start(address, tmp_path / "first", kill), -signal.SIGKILL)
    ended(start(address, tmp_path / "second"))
    assert_same(address, uninterrupted)


def sealed(address):
    """The seals in a store, each of which marks a complete checkpoint."""
    there = objects.listed(*objects.opened(address))
    return {name for name in there if snapshots.is_seal(name)}


def test_killed_again_and_again_on_two_machines(s3, uninterrupted, tmp_path):
    """Each time, it is killed soon after a new checkpoint has arrived in the store."""
    address = f"{s3}/runs/a"
    for number in range(4):
        before, process = sealed(address), start(address, tmp_path / f"machine-{number % 2}")
        until(process, lambda before=before: sealed(address) - before)
        time.sleep(0.2 * number)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert "resumed at step" in ended(start(address, tmp_path / "machine-2"))
    assert_same(address, uninterrupted)


def test_what_is_there_is_evaluated_and_served_as_what_is_here(s3, uninterrupted, tmp_path, capsys):
    address = f"{s3}/runs/a"
    store, root = objects.opened(address)
    store.put(str(uninterrupted), root, recursive=True)
    assert cli.main(["evaluate", "--workdir", address, "--json", str(tmp_path / "far.json")]) == 0
    assert cli.main(["evaluate", "--workdir", str(uninterrupted), "--json", str(tmp_path / "near.json")]) == 0
    far, near = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("far", "near"))
    assert {**far, "seconds": 0} == {**near, "seconds": 0}
    for words in (["recommend", "--users", "all", "--output", "{}.csv"], ["vectors", "--output", "{}"]):
        for name, place in {"far": address, "near": str(uninterrupted)}.items():
            told = [word.replace("{}", str(tmp_path / name)) for word in words]
            assert cli.main([told[0], "--workdir", place, *told[1:]]) == 0
    assert (tmp_path / "far.csv").read_bytes() == (tmp_path / "near.csv").read_bytes()
    for name in ("items", "users"):
        same = ((tmp_path / place / f"{name}.parquet").read_bytes() for place in ("far", "near"))
        assert len(set(same)) == 1


def test_of_two_trainings_one_is_refused_by_name(s3, uninterrupted, tmp_path):
    address = f"{s3}/runs/a"
    first = start(address, tmp_path / "first")
    until(first, lambda: lease._newest(*objects.opened(address))[0])
    said = ended(start(address, tmp_path / "second"), 2)
    assert f"{address} is in use by another training (process {first.pid} of" in said
    ended(first)
    assert_same(address, uninterrupted)
    shutil.rmtree(tmp_path / "first")
    assert "training is complete" in ended(start(address, tmp_path / "third"))


def test_of_several_processes_the_first_sends(s3, tmp_path):
    """One process can also resume what two have trained."""
    address = f"{s3}/runs/a"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = ["--config.epochs=2", "--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process"]
    both = [start(address, tmp_path / str(number), job=[*job, str(number)]) for number in range(2)]
    for each in both:
        ended(each)
    assert not (tmp_path / "1" / "workdirs").exists()
    assert "training is complete" in ended(start(address, tmp_path / "2", job=job[:1]))


def test_sigterm_sends_what_is_trained(s3, uninterrupted, tmp_path):
    address = f"{s3}/runs/a"
    first = start(address, tmp_path / "first")
    until(first, lambda: "metrics.jsonl" in objects.listed(*objects.opened(address)))
    first.send_signal(signal.SIGTERM)
    assert "a checkpoint is saved" in ended(first, 143)
    assert (copied(address) / "checkpoints").is_dir()
    begun = time.monotonic()
    ended(start(address, tmp_path / "second"))
    assert time.monotonic() - begun < 120
    assert_same(address, uninterrupted)


def test_from_python_in_a_store_as_in_a_folder(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {"epochs": 2, "batch": 32, "model": {"dim": 8}, "eval_every": 1}
    log = jaxrec.prepare("synthetic:users=80,items=100")
    near, far = (jaxrec.fit(log, workdir=f"{place}/a", **keys) for place in (tmp_path, "memory://bucket"))
    loaded = jaxrec.load("memory://bucket/a")
    assert loaded.recommend([1, 2], k=5) == near.recommend([1, 2], k=5) == far.recommend([1, 2], k=5)
    assert "memory://bucket/a" in repr(loaded) and loaded.renewed("latest").step == near.renewed("latest").step
    wanted = jaxrec.evaluate(tmp_path / "a", log).metrics
    assert jaxrec.evaluate("memory://bucket/a", log).metrics == loaded.evaluate(log).metrics == wanted
    begun = [jaxrec.fit(log, workdir=f"{place}/b", init_from=f"{place}/a", **keys) for place in (tmp_path, MEMORY)]
    assert begun[0].recommend([1, 2], k=5) == begun[1].recommend([1, 2], k=5)
    assert begun[1].config.init_from == "memory://bucket/a"


def test_comparisons_and_searches_are_gone_on_with(store, tmp_path, monkeypatch):
    keys = {"epochs": 1, "batch": 32, "model": {"dim": 8}}
    log = jaxrec.prepare("synthetic:users=80,items=100")
    first = jaxrec.compare(log, ["sasrec", "gru4rec"], workdir=f"{MEMORY}/compared", **keys)
    searched = jaxrec.tune(log, minutes=0.4, workdir=f"{MEMORY}/tuned", epochs=1)
    assert f"the best is in {MEMORY}/tuned/{searched.trials[0].name}" in repr(searched)
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "another machine's"))
    again = jaxrec.compare(log, ["sasrec", "gru4rec"], workdir=f"{MEMORY}/compared", **keys)
    assert {name: row["metrics"] for name, row in again.rows.items()} == {
        name: row["metrics"] for name, row in first.rows.items()
    }
    more = jaxrec.tune(log, minutes=0.4, workdir=f"{MEMORY}/tuned", epochs=1)
    assert {trial.name for trial in more.trials} >= {trial.name for trial in searched.trials}
    best = jaxrec.load(f"{MEMORY}/tuned/{more.trials[0].name}")
    assert best.recommend([1, 2], k=5) == more.load().recommend([1, 2], k=5)
