"""A search keeps to its time, halves its trials, goes on where it was cut off, and leaves the best ready."""

import pytest
from made_logs import COLUMNS, made_log, made_rows

import jaxrec
from jaxrec import cli
from jaxrec.api import tuning
from jaxrec.training import fit as loop


class Clock:
    """A clock that goes on where trainings are pretended."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Trainings that take the time of a clock: `start` seconds to begin, one an epoch; dim 128 is the best."""
    clock, ran = Clock(), []
    monkeypatch.setattr(tuning, "time", clock)
    monkeypatch.setattr(tuning.fitting, "assembled", lambda config, split: (config, None))
    monkeypatch.setattr(tuning.fitting, "claim", lambda *_: None)
    monkeypatch.setattr(tuning, "evaluation", lambda *_, **__: None)
    started = {}

    def fit(config, path, validate, console, held, note, deadline):
        first = path not in started
        clock.now += 10 * first
        ran.append((path.name, clock.now))
        while True:
            clock.now += 1
            epoch = started[path] = started.get(path, 0) + 1
            score = min(epoch, 500) * (1 + (config.model.dim == 128))
            note({"epoch": epoch, "valid": {config.select_by: score}})
            if epoch >= 1_000:
                return
            if clock.now >= deadline:
                raise loop.OutOfTime

    monkeypatch.setattr(tuning.loop, "fit", fit)
    return clock, ran, tmp_path / "tune"


def test_a_search_halves_its_trials_and_keeps_to_its_time(pretended):
    clock, ran, folder = pretended
    log = made_log()
    found = jaxrec.tune(log, 10, folder)
    assert clock.now <= 600
    assert [trial.rounds for trial in found.trials] == [4, 3, 2, 2, 1, 1, 1, 1]
    assert "128" in found.trials[0].name and "128" in found.trials[1].name
    assert (folder / "best").resolve() == found.best.resolve() and found.trials[0].name in repr(found)
    before = len(ran)
    again = jaxrec.tune(log, 10, folder)
    assert [trial.name for trial in again.trials] == [trial.name for trial in found.trials]
    assert len(ran) <= before + 1
    with pytest.raises(jaxrec.UserError, match="a search on other data"):
        jaxrec.tune(made_log(seed=1), 10, folder)


@pytest.mark.parametrize("minutes", [0.5, 1, 2, 5])
def test_a_short_search_tries_fewer_recipes(pretended, minutes):
    clock, _, folder = pretended
    found = jaxrec.tune(made_log(), minutes, folder)
    assert clock.now <= 60 * minutes and found.trials[0].score


def test_a_search_that_is_cut_off_goes_on(pretended, monkeypatch):
    clock, ran, folder = pretended
    log, whole = made_log(), tuning._Search._train

    def cut(self, trial, deadline, number):
        if len(ran) == 5:
            raise KeyboardInterrupt
        whole(self, trial, deadline, number)

    monkeypatch.setattr(tuning._Search, "_train", cut)
    with pytest.raises(KeyboardInterrupt):
        jaxrec.tune(log, 10, folder)
    monkeypatch.setattr(tuning._Search, "_train", whole)
    found = jaxrec.tune(log, 10, folder)
    assert clock.now <= 600 and len({name for name, _ in ran[:8]}) == 8
    assert [trial.rounds for trial in found.trials] == [4, 3, 2, 2, 1, 1, 1, 1]
    (folder / tuning.STATE).write_text("{")
    with pytest.raises(jaxrec.UserError, match="damaged"):
        jaxrec.tune(log, 10, folder)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--minutes", "0"], "minutes 0: above 0"),
        (["--set", "epohcs=3"], "did you mean config.epochs?"),
        (["--set", "workdir=x"], "no key"),
        (["--dataset", "nowhere"], "'nowhere' was not found"),
    ],
)
def test_mistakes_are_messages_and_leave_no_folder(argv, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tune", "--dataset", "synthetic:users=50", *argv]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_search_trains_and_leaves_the_best_ready(tmp_path):
    log = jaxrec.prepare(made_rows(), output=tmp_path / "log", **COLUMNS)
    argv = ["tune", "--dataset", log.dataset, "--minutes", "2", "--workdir", str(tmp_path / "tune")]
    assert cli.main([*argv, "--set", "batch=16"]) == 0
    assert jaxrec.load(tmp_path / "tune" / "best").recommend(["i01"], k=3)
    assert cli.main(["evaluate", "--workdir", str(tmp_path / "tune" / "best")]) == 0
