"""The loop: what it reports, when it stops, and what it refuses."""

import concurrent.futures
import dataclasses
import io
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
from trainings import BASE, Killed, assert_same, killed_at, outcome, run

from jaxrec import cli
from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.system.errors import UserError
from jaxrec.training import fit, metric_writer, ongoing, setup as setups, wording
from jaxrec.training.feed import users_of
from jaxrec.training.workdirs import checkpoint, workdir

ROOT = Path(__file__).parents[2]


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


@pytest.mark.slow  # the default run tests that a killed and resumed run is the same
def test_the_same_seed_gives_the_same_run_and_another_does_not(prepare, uninterrupted, tmp_path):
    run(prepare(), tmp_path / "again")
    assert_same(outcome(prepare(), tmp_path / "again"), uninterrupted)
    run(prepare(seed=2), tmp_path / "other")
    assert outcome(prepare(seed=2), tmp_path / "other")[3] != uninterrupted[3]


def test_metrics_rows_are_whole_epochs(prepare, uninterrupted):
    rows = uninterrupted[3]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    targets = int(prepare()[0].batches.subsequences.length.sum())
    assert all(row["targets"] == targets and "valid" in row and row["rate"] == 1e-2 for row in rows)


def test_the_loss_of_a_row_is_the_mean_by_weights(split, prepare, tmp_path):
    weights = np.random.default_rng(1).uniform(0.1, 9, len(split.interactions.items)).astype(np.float32)
    weighed = splits.last_item(dataclasses.replace(split.interactions, weights=weights))
    config = configs.from_dict(BASE | {"loss": BASE["loss"] | {"weight": "linear"}})
    setup, calls = setups.setup(config, weighed, jax.devices()[:1]), []

    class Watched:
        lower = setup.run.lower

        def __call__(self, *args):
            state, report = setup.run(*args)
            calls.append(jax.device_get(report))
            return state, report

    rows = fit.fit(dataclasses.replace(setup, run=Watched()), tmp_path, prepare()[1])["rows"]
    taken = [step for call in calls for step in np.transpose([call.loss, call.weight]) if np.isfinite(step).all()]
    loss, weight = np.reshape(taken, (len(rows), -1, 2)).transpose(2, 0, 1)
    assert [row["loss"] for row in rows] == pytest.approx((loss * weight).sum(1) / weight.sum(1), rel=1e-5)
    assert np.ptp(weight) > 1


@pytest.mark.slow
def test_rows_say_the_rate_and_the_seconds_of_their_last_step(prepare, tmp_path):
    """In a warm-up over all steps, the rate grows by equal amounts; the seconds are those of training, and grow too."""
    setup, validate = prepare()
    optim = dataclasses.replace(setup.config.optim, warmup=setup.total_steps)
    warming = dataclasses.replace(
        setup, config=dataclasses.replace(setup.config, optim=optim)
    )  # which changes what is reported, not what is done
    rows = fit.fit(warming, tmp_path, validate)["rows"]
    wanted = [1e-2 * (row["step"] - 1) / setup.total_steps for row in rows]
    assert [row["rate"] for row in rows] == pytest.approx(wanted, rel=1e-5)
    seconds = [row["seconds"] for row in rows]
    assert seconds[0] > 0 and seconds == sorted(seconds)


def test_patience_stops_and_the_best_is_kept(prepare, tmp_path, monkeypatch):
    """If validation is best at the second time, patience 2 stops after the fourth, and the second is kept as the best.

    Only the metric that `select_by` names counts.
    """
    setup, _ = prepare(epochs=50, patience=2, select_by="hr@1", save_every=1)
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
    monkeypatch.setattr(fit.Feed, "__call__", lambda *_: pytest.fail("what is complete compiles nothing"))
    assert fit.fit(setup, tmp_path, validate)["step"] == done["step"]


def test_the_last_epoch_is_always_evaluated(prepare, tmp_path):
    setup, validate = prepare()
    setup = dataclasses.replace(setup, config=dataclasses.replace(setup.config, eval_every=2, save_every=1))
    rows = fit.fit(setup, tmp_path, validate)["rows"]
    assert ["valid" in row for row in rows] == [False, True, True]


@pytest.mark.slow
def test_a_checkpoint_of_other_batches_is_refused(prepare, tmp_path):
    """As made by earlier versions on three devices: the same steps would have other users."""
    setup, validate = prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "resume", lambda *given, do=fit.resume: (do(*given)[0], do(*given)[1] | {"rows": 9}))
        fit.fit(setup, tmp_path, validate)
    with pytest.raises(UserError, match=r"9 rows per step .* has 8 rows .* the version that began this training"):
        fit.fit(setup, tmp_path, validate)


def test_steps_are_the_same_on_any_number_of_devices(prepare, split):
    setup, _ = prepare()
    for number in range(2, 9):
        of = setups.setup(setup.config, split, jax.devices()[:number])
        assert (of.batches.rows, of.epoch_steps) == (setup.batches.rows, setup.epoch_steps)
        assert of.padded_rows == -(-setup.batches.rows // number) * number
        words = f"{of.padded_rows - of.batches.rows} more that are empty so that all devices have equally many"
        assert (words in wording.describe(of)) == (8 % number != 0)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(4, 3), (3, 5), (7, 1), (6, 8)])
def test_a_training_goes_on_on_another_number_of_devices(prepare, split, tmp_path, monkeypatch, first, then):
    alone = prepare(optim=BASE["optim"] | {"eps": 1e-4})
    run(alone, tmp_path / "alone")
    first, then = (setups.setup(alone[0].config, split, jax.devices()[:number]) for number in (first, then))
    (tmp_path / "cut").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(4, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            fit.fit(first, tmp_path / "cut", None)
    assert fit.fit(then, tmp_path / "cut", None)["step"] == alone[0].total_steps
    ends = (outcome(alone, tmp_path / name)[0] for name in ("alone", "cut"))
    for (path, x), (_, y) in zip(*ends, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=2e-5, err_msg=str(path))


@pytest.mark.slow
def test_a_training_goes_on_with_other_microbatches(prepare, tmp_path, monkeypatch):
    """This is needed on a smaller device; the training is the same up to rounding."""
    optim = BASE["optim"] | {"eps": 1e-4}  # with a smaller eps, Adam makes full steps of rounding errors
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


@pytest.mark.slow
def test_asked_to_stop_at_the_very_end_is_still_a_stop(prepare, tmp_path, monkeypatch):
    def asked(self, wait=checkpoint.Checkpoints.wait):
        os.kill(os.getpid(), signal.SIGTERM)
        wait(self)

    monkeypatch.setattr(checkpoint.Checkpoints, "wait", asked)
    with pytest.raises(fit.Stopped):
        run(prepare(), tmp_path)


@pytest.mark.parametrize("deadline", [0.0, None])
def test_asked_to_stop_while_it_validates_is_a_stop_whatever_else_ends_it(prepare, tmp_path, deadline):
    """For example in a trial of a search, which would otherwise go on to the next trial."""
    setup, validate = prepare(steps_per_call=8, save_every=1)

    def asked(params):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(params)

    def enough(row):
        raise fit.OutOfTime

    with pytest.raises(fit.Stopped) as stopped:
        fit.fit(setup, tmp_path, asked, on_evaluate=None if deadline is not None else enough, deadline=deadline)
    assert stopped.value.signum == signal.SIGTERM
    with pytest.raises(fit.OutOfTime):
        fit.fit(setup, tmp_path, validate, on_evaluate=enough)
    run((setup, validate), tmp_path)


def test_what_is_not_finite_names_step_users_and_last_good(prepare, split, tmp_path):
    setup, validate = prepare(optim={"name": "adam", "learning_rate": 1e30})
    with pytest.raises(ongoing.NotFinite) as error:
        run((setup, validate), tmp_path)
    text = str(error.value)
    at = int(text.split("step ")[1].split()[0])
    batch = users_of(setup, at)
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
    monkeypatch.setattr(checkpoint.orbax().CheckpointManager, "save", lambda *args, **kwargs: False)
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


@pytest.mark.slow
def test_exit_codes_of_signals_and_of_completion(tmp_path, capsys):
    """SIGTERM gives 143 and a checkpoint; the same command resumes, exits with 0, and says so if it is run again."""
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


def test_a_training_that_is_over_at_its_deadline_is_complete(prepare, tmp_path):
    setup, validate = prepare(epochs=1, steps_per_call=1000, save_every=1)
    assert fit.fit(setup, tmp_path, validate, deadline=0.0)["step"] == setup.total_steps
    assert fit.complete(setup, tmp_path)


def test_what_is_evaluated_is_saved_however_seldom_saves_are_asked_for(prepare, tmp_path):
    setup, validate = prepare(save_every=100.0)
    saved = []
    fit.fit(setup, tmp_path, validate, on_checkpoint=lambda step, folder: saved.append(step))
    assert saved == [setup.epoch_steps * epoch for epoch in (1, 2, 3)]
