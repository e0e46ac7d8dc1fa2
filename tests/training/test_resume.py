"""Wherever a training is killed: resuming from the workdir gives the uninterrupted run, bit for bit."""

import os
import signal

import jax
import numpy as np
import pytest
from some import some
from trainings import BASE, Killed, assert_same, killed_at, outcome, run

from jaxrec.config import parsing as configs
from jaxrec.training import assembly, fit, metric_writer, ongoing, setup as setups
from jaxrec.training.workdirs import checkpoint, workdir


@pytest.mark.parametrize(
    ("owner", "name", "nth"),
    some(
        [
            (fit.Feed, "__call__", 1),  # before anything
            (fit.Feed, "__call__", 7),  # between two calls
            (metric_writer.MetricWriter, "progress", 5),  # during a call, before its steps are read
            (ongoing, "_close_row", 2),  # after a validation, before its row
            (checkpoint.Checkpoints, "save", 1),  # between the row and the save
            (checkpoint.Checkpoints, "save", 5),
            (metric_writer.MetricWriter, "close", 1),  # after the last save
        ],
        (fit.Feed, "__call__", 7),
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


@pytest.mark.slow
def test_what_is_resumed_is_not_made_anew(prepare, tmp_path, monkeypatch):
    """Otherwise the params and the optimiser's state would be in memory twice."""
    setup, validate = prepare()
    with monkeypatch.context() as patch:
        patch.setattr(metric_writer.MetricWriter, "progress", killed_at(5, metric_writer.MetricWriter.progress))
        with pytest.raises(Killed):
            run(prepare(), tmp_path)
    monkeypatch.setattr(assembly, "initial", lambda setup: pytest.fail("made anew"))
    fit.fit(setup, tmp_path, validate)


def test_killed_during_a_save_resumes_bit_for_bit(prepare, uninterrupted, tmp_path, monkeypatch):
    """The temporary folder that an unfinished save leaves is neither latest nor best."""
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


@pytest.mark.slow
@pytest.mark.parametrize("item", ["params", "rest", "loop"])
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
    """With another feed, launcher, call size and save interval after every kill, the bits are still the same."""
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


def test_asked_to_stop_saves_and_resumes_bit_for_bit(prepare, uninterrupted, tmp_path, monkeypatch):
    """At SIGTERM the state is saved at a step where no save was due, and the run resumes from that step."""
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
    """Each lane resumes within its session, from the saved hidden state."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(save, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepare(**LANES), tmp_path)
    setup = prepare(**LANES)[0]
    checkpoints = checkpoint.Checkpoints(tmp_path, read_only=True)
    assert checkpoints.latest() % setup.epoch_steps
    state, _ = checkpoints.restore(checkpoints.latest(), setups.initial(setup))
    checkpoints.close()
    assert [x.shape for x in state.carry] == [(16, 8)] * 2 and all(x[:12].any(axis=1).all() for x in state.carry)
    run(prepare(**LANES), tmp_path)
    assert_same(outcome(prepare(**LANES), tmp_path), uninterrupted_lanes)


@pytest.mark.slow
def test_lanes_go_on_on_other_devices(prepare, split, uninterrupted_lanes, tmp_path, monkeypatch):
    """The carry in a checkpoint is that of all lanes, and is split anew on resume."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            run(prepare(**LANES), tmp_path)
    three, four = (setups.setup(prepare(**LANES)[0].config, split, jax.devices()[:n]) for n in (3, 4))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(2, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):
            fit.fit(four, tmp_path, None)
    fit.fit(three, tmp_path, None)
    for (path, x), (_, y) in zip(outcome(prepare(**LANES), tmp_path)[0], uninterrupted_lanes[0], strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4, err_msg=str(path))
