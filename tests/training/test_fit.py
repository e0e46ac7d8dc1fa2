"""The loop: whatever kills it, and wherever, going on from the workdir gives the uninterrupted run, bit for bit."""

import concurrent.futures
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console
from some import some

from jaxrec import cli
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.evaluation.metrics import metrics
from jaxrec.system.errors import UserError
from jaxrec.training import checkpoint, fit, metric_writer, wording, workdir

ROOT = Path(__file__).parents[2]
BASE = {
    "dataset": "histories",
    "seed": 1,
    "epochs": 3,
    "batch": 16,
    "length": 8,
    "eval_every": 1,
    "save_every": 0.4,
    "steps_per_call": 2,
    "patience": 0,
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "dropout": 0.2},
    "loss": {"name": "bce", "negatives": 1},
    "optim": {"name": "adam", "learning_rate": 1e-2},
}


class Killed(BaseException):
    """Ends a run as kill does: nothing that the loop would catch."""


@pytest.fixture(scope="module")
def split():
    random = np.random.default_rng(0)
    histories = [random.integers(1, 21, random.integers(3, 12)).tolist() for _ in range(120)]
    return splits.last_item(interactions.from_sequences(histories))


@pytest.fixture(scope="module")
def prepare(split):
    """(setup, validate) of a config, compiled once for all runs that share it."""
    made = {}

    def prepared(**changes):
        key = json.dumps(changes)
        if key not in made:
            setup = fit.setup(configs.from_dict(BASE | changes), split, jax.devices()[:1])
            evaluator = Evaluator(setup.model, setup.config, split, split.valid, setup.devices)
            made[key] = setup, lambda params: metrics(evaluator.ranks(params))
        return made[key]

    return prepared


def run(prepared, path):
    setup, validate = prepared
    path.mkdir(exist_ok=True)
    return fit.fit(setup, path, validate)


def outcome(prepared, path):
    """What must not differ: the state at the latest checkpoint, the loop's, the rows of metrics but their seconds."""
    checkpoints = checkpoint.Checkpoints(path, read_only=True)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state, loop = checkpoints.restore(checkpoints.latest(), checkpoint.abstract(fit.initial(prepared[0]), sharding))
    best = checkpoints.best()
    checkpoints.close()
    loop.pop("seconds")
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in metric_writer.read_rows(path / "metrics.jsonl")]
    return jax.tree.leaves_with_path(jax.device_get(state)), loop, best, rows


def assert_same(a, b):
    for (path, x), (_, y) in zip(a[0], b[0], strict=True):
        np.testing.assert_array_equal(x, y, err_msg=str(path))
    assert a[1:] == b[1:]


@pytest.fixture(scope="module")
def uninterrupted(prepare, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    run(prepare(), path)
    return outcome(prepare(), path)


def killed_at(nth, function):
    """`function`, killed before its nth call."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == nth:
            raise Killed
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize(
    ("owner", "name", "nth"),
    some(
        [
            (fit.Feed, "__call__", 1),  # before anything
            (fit.Feed, "__call__", 7),  # between two calls
            (metric_writer.MetricWriter, "progress", 5),  # a call under way, its steps not yet read
            (fit, "close_row", 2),  # after a validation, before its row
            (checkpoint.Checkpoints, "save", 1),  # between the row and the save
            (checkpoint.Checkpoints, "save", 5),
            (metric_writer.MetricWriter, "close", 1),  # after the last save
        ],
        (fit.Feed, "__call__", 7),
        (checkpoint.Checkpoints, "save", 1),
    ),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_killed_anywhere_resumes_bit_for_bit(prepare, uninterrupted, tmp_path, monkeypatch, owner, name, nth):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed_at(nth, getattr(owner, name)))
        with pytest.raises(Killed):
            run(prepare(), tmp_path)
    run(prepare(), tmp_path)
    assert_same(outcome(prepare(), tmp_path), uninterrupted)


def test_what_is_resumed_is_not_made_anew(prepare, tmp_path, monkeypatch):
    """Else the params and the optimiser's state would be held twice."""
    setup, validate = prepare()
    with monkeypatch.context() as patch:
        patch.setattr(metric_writer.MetricWriter, "progress", killed_at(5, metric_writer.MetricWriter.progress))
        with pytest.raises(Killed):
            run(prepare(), tmp_path)
    monkeypatch.setattr(fit, "initial", lambda setup: pytest.fail("made anew"))
    fit.fit(setup, tmp_path, validate)


def test_killed_during_a_save_resumes_bit_for_bit(prepare, uninterrupted, tmp_path, monkeypatch):
    """What a save leaves that died half-way, a temporary folder, is neither latest nor best."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(4, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepare(), tmp_path)
    folder = tmp_path / "checkpoints"
    newest = max(int(step.name) for step in folder.iterdir() if step.name.isdigit())
    half = folder / f"{newest + 3}.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "params").write_text("half")
    run(prepare(), tmp_path)
    assert not half.exists()
    assert_same(outcome(prepare(), tmp_path), uninterrupted)


@pytest.mark.parametrize("item", some(["params", "rest", "loop"], "params"))
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_goes_on(
    prepare, uninterrupted, tmp_path, monkeypatch, item
):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(5, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepare(), tmp_path)
    newest = max((tmp_path / "checkpoints").iterdir(), key=lambda path: int(path.name))
    file = max((newest / item).rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    run(prepare(), tmp_path)
    assert_same(outcome(prepare(), tmp_path), uninterrupted)
    assert newest.with_name(f"{newest.name}.damaged").is_dir()


@pytest.mark.slow
def test_what_changes_no_result_may_change_on_resume(prepare, uninterrupted, tmp_path, monkeypatch):
    """Another feed, launcher, size of a call and interval of saves after every kill, and still the same bits."""
    kinds = [{}, {"feed": "host"}, {"launcher": "shard_map"}, {"steps_per_call": 3, "save_every": 0.2}]
    for changes in kinds:
        config = configs.from_dict(BASE | changes)
        workdir.claim(tmp_path, config, prepare()[0].split.interactions, "here")
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
            with pytest.raises(Killed):
                run(prepare(**changes), tmp_path)
    run(prepare(), tmp_path)
    assert_same(outcome(prepare(), tmp_path), uninterrupted)


def test_a_training_runs_in_any_thread(prepare, uninterrupted, tmp_path):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with concurrent.futures.ThreadPoolExecutor() as threads:
        threads.submit(run, prepare(), tmp_path).result()
    assert_same(outcome(prepare(), tmp_path), uninterrupted)
    assert before == {each: signal.getsignal(each) for each in before}


def test_a_workdir_that_is_moved_while_it_trains_is_an_error(prepare, tmp_path, monkeypatch):
    path, feed = tmp_path / "w", fit.Feed.__call__

    def moving(self, start, end):
        if start >= 4 and path.exists():
            path.rename(tmp_path / "elsewhere")
        return feed(self, start, end)

    monkeypatch.setattr(fit.Feed, "__call__", moving)
    with pytest.raises(UserError, match="w was moved or removed while it trained"):
        run(prepare(), path)


def test_asked_to_stop_saves_and_resumes_bit_for_bit(prepare, uninterrupted, tmp_path, monkeypatch):
    """At SIGTERM the state is saved at a step where no save was due, and the run goes on from just there."""
    feed = fit.Feed.__call__

    def asked(self, start, end):
        if start == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return feed(self, start, end)

    with monkeypatch.context() as patch:
        patch.setattr(fit.Feed, "__call__", asked)
        with pytest.raises(fit.Stopped) as stopped:
            run(prepare(), tmp_path)
    assert stopped.value.signum == signal.SIGTERM
    checkpoints = checkpoint.Checkpoints(tmp_path, read_only=True)
    assert checkpoints.latest() % fit.interval(prepare()[0], BASE["save_every"])
    checkpoints.close()
    run(prepare(), tmp_path)
    assert_same(outcome(prepare(), tmp_path), uninterrupted)


LANES = {
    "stream": "session-parallel",
    "batch": 12,
    "epochs": 2,
    "model": {"name": "gru4rec", "dim": 8, "layers": 2, "dropout": 0.2},
    "loss": {"name": "bpr-max", "negatives": 9, "sampling": "mixed", "share": "batch"},
    "optim": {"name": "adagrad", "learning_rate": 0.02, "eps": 1e-3, "momentum": 0.3, "sparse": True},
}


@pytest.fixture(scope="module")
def uninterrupted_lanes(prepare, tmp_path_factory):
    path = tmp_path_factory.mktemp("lanes")
    run(prepare(**LANES), path)
    return outcome(prepare(**LANES), path)


@pytest.mark.slow
@pytest.mark.parametrize("save", [2, 5])
def test_lanes_killed_within_an_epoch_resume_bit_for_bit(prepare, uninterrupted_lanes, tmp_path, monkeypatch, save):
    """Each lane goes on within its session, from the hidden state that was saved."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(save, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepare(**LANES), tmp_path)
    setup = prepare(**LANES)[0]
    checkpoints = checkpoint.Checkpoints(tmp_path, read_only=True)
    assert checkpoints.latest() % setup.epoch_steps
    state, _ = checkpoints.restore(checkpoints.latest(), fit.initial(setup))
    checkpoints.close()
    assert [x.shape for x in state.carry] == [(16, 8)] * 2 and all(x[:12].any(axis=1).all() for x in state.carry)
    run(prepare(**LANES), tmp_path)
    assert_same(outcome(prepare(**LANES), tmp_path), uninterrupted_lanes)


@pytest.mark.slow
def test_lanes_go_on_on_other_devices(prepare, split, uninterrupted_lanes, tmp_path, monkeypatch):
    """The carry of a checkpoint is that of all lanes, and is split anew."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepare(**LANES), tmp_path)
    three, four = (fit.setup(prepare(**LANES)[0].config, split, jax.devices()[:n]) for n in (3, 4))
    with pytest.raises(UserError, match="1, 2, 4 or 8 devices"):
        fit.fit(three, tmp_path, None)
    fit.fit(four, tmp_path, None)
    for (path, x), (_, y) in zip(outcome(prepare(**LANES), tmp_path)[0], uninterrupted_lanes[0], strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4, err_msg=str(path))


@pytest.mark.slow  # what is killed and resumed is the same run too, always
def test_the_same_seed_gives_the_same_run_and_another_does_not(prepare, uninterrupted, tmp_path):
    run(prepare(), tmp_path / "again")
    assert_same(outcome(prepare(), tmp_path / "again"), uninterrupted)
    run(prepare(seed=2), tmp_path / "other")
    assert outcome(prepare(seed=2), tmp_path / "other")[3] != uninterrupted[3]


def test_metrics_rows_are_whole_epochs(prepare, uninterrupted):
    rows = uninterrupted[3]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    targets = int(prepare()[0].subsequences.length.sum())
    assert all(row["targets"] == targets and "valid" in row and row["rate"] == 1e-2 for row in rows)


def test_rows_say_the_rate_and_the_seconds_of_their_last_step(prepare, tmp_path):
    """Of a warm-up over all steps the rate grows in equal parts; the seconds are those of training, and grow too."""
    setup, validate = prepare()
    optim = dataclasses.replace(setup.config.optim, warmup=setup.total_steps)
    warming = dataclasses.replace(
        setup, config=dataclasses.replace(setup.config, optim=optim)
    )  # what is said, not what is done
    rows = fit.fit(warming, tmp_path, validate)["rows"]
    wanted = [1e-2 * (row["step"] - 1) / setup.total_steps for row in rows]
    assert [row["rate"] for row in rows] == pytest.approx(wanted, rel=1e-5)
    seconds = [row["seconds"] for row in rows]
    assert seconds[0] > 0 and seconds == sorted(seconds)


def test_patience_stops_and_the_best_is_kept(prepare, tmp_path):
    """A validation that gets worse after the second: patience 2 stops after the fourth, the second is the best.

    The metric is that of `select_by`, whatever the others do.
    """
    setup, _ = prepare(epochs=50, patience=2, select_by="hr@1")
    scores, others, out = iter([0.1, 0.3, 0.3, 0.2, 0.9]), iter([0.1, 0.2, 0.3, 0.4, 0.5]), io.StringIO()
    validate = lambda params: {"hr@1": next(scores)} | dict.fromkeys(wording.CHECKED, next(others))
    done = fit.fit(setup, tmp_path, validate, Console(file=out, width=200))
    said = " ".join(out.getvalue().split())
    assert "stopped early at epoch 4 of 50: 2 validations in a row (config.patience=2) without a better hr@1" in said
    assert "than 0.3000 at epoch 2" in said and "validation hr@10 0.1000" in said and "hr@1 0.1000 best hr@1" in said
    assert [row["valid"]["hr@1"] for row in done["rows"]] == [0.1, 0.3, 0.3, 0.2]
    assert done["step"] == 4 * setup.epoch_steps and done["best"] == {"step": 2 * setup.epoch_steps, "score": 0.3}
    checkpoints = checkpoint.Checkpoints(tmp_path, read_only=True)
    assert (checkpoints.best(), checkpoints.latest()) == (2 * setup.epoch_steps, 4 * setup.epoch_steps)
    checkpoints.close()
    assert fit.complete(setup, tmp_path)


def test_the_last_epoch_is_always_evaluated(prepare, tmp_path):
    setup, validate = prepare(eval_every=2)
    rows = fit.fit(setup, tmp_path, validate)["rows"]
    assert ["valid" in row for row in rows] == [False, True, True]


def test_devices_that_make_other_batches_are_refused(prepare, split, tmp_path):
    """8 rows a step on 1 device, 6 or 9 on 3: the steps would mean other users."""
    setup, validate = prepare()
    fit.fit(setup, tmp_path, validate)
    three = fit.setup(setup.config, split, jax.devices()[:3])
    assert three.rows != setup.rows
    with pytest.raises(UserError, match="1, 2, 4 or 8 devices"):
        fit.fit(three, tmp_path, validate)


@pytest.mark.slow
def test_a_training_goes_on_with_other_microbatches(prepare, tmp_path, monkeypatch):
    """As it must on a smaller device; it is the same but for rounding."""
    optim = BASE["optim"] | {"eps": 1e-4}  # else Adam makes whole steps of rounding
    whole, portions = prepare(optim=optim), prepare(optim=optim, rows_at_once=2)
    assert portions[0].microbatch_rows == 2 and "8 rows of 8 slots, 2 at once" in wording.describe(portions[0])
    run(whole, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(whole, tmp_path / "portions")
    run(portions, tmp_path / "portions")
    ends = (outcome(each, tmp_path / name)[0] for each, name in ((whole, "whole"), (portions, "portions")))
    for (path, x), (_, y) in zip(*ends, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=2e-5, err_msg=str(path))


def test_asked_to_stop_at_the_very_end_is_still_a_stop(prepare, tmp_path, monkeypatch):
    def asked(self, wait=checkpoint.Checkpoints.wait):
        os.kill(os.getpid(), signal.SIGTERM)
        wait(self)

    monkeypatch.setattr(checkpoint.Checkpoints, "wait", asked)
    with pytest.raises(fit.Stopped):
        run(prepare(), tmp_path)


def test_what_is_not_finite_names_step_users_and_last_good(prepare, split, tmp_path):
    setup, validate = prepare(optim={"name": "adam", "learning_rate": 1e30})
    with pytest.raises(fit.NotFinite) as error:
        run((setup, validate), tmp_path)
    text = str(error.value)
    at = int(text.split("step ")[1].split()[0])
    batch = fit.users_of(setup, at)
    assert 0 < len(batch) < len(split.interactions.users)
    assert (
        f"users {', '.join(map(str, batch[:10]))}" in text
        and "checkpoint" in text
        and "config.optim.learning_rate" in text
    )
    checkpoints = checkpoint.Checkpoints(tmp_path)
    good = checkpoints.latest()
    checkpoints.close()
    assert good is None or good <= at


def test_an_error_of_a_save_is_not_swallowed(prepare, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.ocp.CheckpointManager, "save", lambda *args, **kwargs: False)
    with pytest.raises(RuntimeError, match="was not saved"):
        run(prepare(), tmp_path)


def command(path, *more):
    arguments = ["--config", "quickstart", "--workdir", str(path), "--config.dataset=synthetic:users=60,items=200"]
    small = ["--config.model.dim=8", "--config.model.layers=1", "--config.batch=8", "--config.eval_every=20"]
    return [
        sys.executable,
        str(ROOT / "train.py"),
        *arguments,
        *small,
        "--config.steps_per_call=2",
        "--config.optim.schedule=constant",
        *more,
    ]


def test_exit_codes_of_signals_and_of_completion(tmp_path, capsys):
    """SIGTERM gives 143 with a checkpoint; the same command goes on, ends with 0, and says so if run again."""
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    long = command(tmp_path / "w", "--config.epochs=2000")
    process = subprocess.Popen(long, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not list((tmp_path / "w").glob("checkpoints/[0-9]*")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    assert cli.main(["train", *long[2:]]) == 2
    said = capsys.readouterr().err
    assert f"process {process.pid}" in said and "Traceback" not in said
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143, output
    rows = len(metric_writer.read_rows(tmp_path / "w" / "metrics.jsonl"))
    short = command(tmp_path / "w", f"--config.epochs={rows + 2}")
    finished = subprocess.run(short, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0 and "resumed at step" in finished.stdout, finished.stdout + finished.stderr
    assert "best reachable" in finished.stdout and (tmp_path / "w" / "curves.png").stat().st_size > 10_000
    assert cli.main(["train", *short[2:]]) == 0
    assert "complete" in capsys.readouterr().out
    kept = (tmp_path / "w" / "config.json").read_bytes()
    assert cli.main(["train", *short[2:], "--config.epochs=1"]) == 2
    assert "ask for at least as many epochs as it has" in capsys.readouterr().err
    assert (tmp_path / "w" / "config.json").read_bytes() == kept
    assert cli.main(["train", *short[2:], "--config.model.dim=16"]) == 2
    assert "config.model.dim: 8 -> 16" in capsys.readouterr().err


def test_a_workdir_of_other_data_is_refused(split, tmp_path):
    config = configs.from_dict(BASE)
    workdir.claim(tmp_path, config, interactions.from_sequences([[1, 2, 3]]), "here")  # no checkpoint: nothing to lose
    workdir.claim(tmp_path, config, split.interactions, "here")
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    workdir.claim(tmp_path, config, split.interactions, "elsewhere")
    workdir.claim(tmp_path, configs.from_dict(BASE | {"microbatch_rows": 2}), split.interactions, "here")
    other = interactions.from_sequences([[1, 2, 3], [2, 3, 4]])
    with pytest.raises(UserError, match="2 users, 4 items"):
        workdir.claim(tmp_path, config, other, "here")
