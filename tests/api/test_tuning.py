"""A search keeps to its time, halves its trials, always keeps `default`, and resumes where it was cut off."""

import collections
import json
import time
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
from made_logs import COLUMNS, made_log, made_rows
from some import some

import jaxrec
from jaxrec import cli
from jaxrec.api import halving, search, tuning
from jaxrec.training import fit as loop, growing, preflight
from jaxrec.training.ongoing import NotFinite


class Clock:
    """A clock that only simulated trainings advance."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


#: a recipe's final score, by its changes: the best one combines several that help
WORTH = {"model.dropout": 0.1, "model.layers": 0.2, "optim.learning_rate": -0.3, "model.norm": -0.2}


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Simulated trainings: ten seconds to start, one per epoch, 300 epochs, every fifth one evaluated."""
    clock, ran, started = Clock(), [], {}
    monkeypatch.setattr(halving, "time", clock)
    monkeypatch.setattr(halving.placement, "all_devices", lambda: ["the only one"])
    monkeypatch.setattr(halving.fitting, "assembled", lambda config, split, devices: (config, None))
    monkeypatch.setattr(halving.fitting, "claim", lambda *_: None)
    monkeypatch.setattr(halving.Halving, "against", lambda self: None)
    monkeypatch.setattr(tuning, "evaluation", lambda *_, **__: None)
    base = {}

    def worth(config):
        flat = search.parsing.flatten(search.parsing.to_dict(config))
        base.setdefault("flat", flat)
        return 1 + sum(value for key, value in WORTH.items() if flat.get(key) != base["flat"][key])

    def fit(config, path, validate, console, held, note, deadline, signals):
        clock.now += 10 * (path not in started)
        ran.append((path.name, clock.now))
        while True:
            clock.now += 1
            epoch = started[path] = started.get(path, 0) + 1
            if epoch % 5 == 0:
                note({"epoch": epoch, "valid": {config.select_by: epoch / 300 * worth(config)}})
            if epoch >= 300:
                return
            if clock.now >= deadline:
                raise loop.OutOfTime

    monkeypatch.setattr(halving.loop, "fit", fit)
    return clock, ran, tmp_path / "tune"


def test_a_search_halves_its_trials_and_keeps_to_its_time(pretended):
    clock, ran, folder = pretended
    log = made_log()
    found = jaxrec.tune(log, 30, folder)
    assert 0.9 * 1800 <= clock.now <= 1800
    rounds = sorted((trial.rounds for trial in found.trials if not trial.of), reverse=True)
    assert len(rounds) > 8 and rounds[0] > 3 and rounds.count(1) >= len(rounds) // 3
    assert (folder / "best").resolve() == found.best.resolve() and found.trials[0].name in repr(found)
    assert found._repr_png_().startswith(b"\x89PNG")
    before = len(ran)
    again = jaxrec.tune(log, 30, folder)
    assert [trial.name for trial in again.trials] == [trial.name for trial in found.trials]
    assert len(ran) <= before + 2
    with pytest.raises(jaxrec.UserError, match="a search on other data"):
        jaxrec.tune(made_log(seed=1), 30, folder)


def test_the_other_processes_train_what_the_first_one_does(pretended, monkeypatch):
    _, ran, folder = pretended
    log, orders, theirs, made = made_log(), [], [], []
    monkeypatch.setattr(halving.processes, "from_first", orders.append)
    jaxrec.tune(log, 20, folder, seed=3)
    assert [order["name"] for order in orders[:-1]] == [name for name, _ in ran] and orders[-1] is None

    def fit(config, path, validate, console, on_evaluate):
        theirs.append(config)
        if on_evaluate:
            on_evaluate({})
        raise loop.OutOfTime

    told = iter(json.loads(json.dumps(orders)))
    monkeypatch.setattr(halving.processes, "from_first", lambda _: next(told))
    monkeypatch.setattr(halving.loop, "fit", fit)
    monkeypatch.setattr(
        halving.fitting, "assembled", lambda config, split, devices: made.append(config) or (config, None)
    )
    halving.follow(log, {"seed": 3})
    assert theirs == [search.configuration(order["changes"], {"seed": 3}, log) for order in orders[:-1]]
    assert len(made) < len(theirs), "what is trained on is not made anew"
    assert next(told, "no more") == "no more"


@pytest.mark.slow
def test_what_helps_is_tried_together_and_beats_each_alone(pretended):
    found = jaxrec.tune(made_log(), 30, pretended[2])
    changed = found.trials[0].changes
    assert {"model.dropout", "model.layers"} <= changed.keys()
    assert not {"model.norm", "optim.learning_rate"} & changed.keys()


def test_default_is_trained_to_its_end_beside_the_best_and_both_with_as_many_seeds(pretended):
    found = jaxrec.tune(made_log(), 90, pretended[2])
    of = lambda name: [trial for trial in found.trials if name in (trial.name, trial.of)]
    best = found.trials[0].of or found.trials[0].name
    assert all(trial.ended for trial in of("default") + of(best))
    assert len(of("default")) == len(of(best)) > 1
    seeds = [trial.changes.get("seed", 0) for trial in of(best)]
    assert sorted(seeds) == list(range(len(seeds)))


@pytest.mark.parametrize("minutes", [0.5, 1, 2, 5])
def test_a_short_search_tries_fewer_recipes(pretended, minutes):
    clock, _, folder = pretended
    found = jaxrec.tune(made_log(), minutes, folder)
    assert clock.now <= 60 * minutes and found.trials[0].score
    assert len(found.trials) <= 2 + 2 * minutes


def test_several_devices_train_as_many_trials_side_by_side(monkeypatch, tmp_path):
    """In real time, with epochs of a hundredth of a second."""
    at_once, most, used = collections.Counter(), [0], set()

    def fit(setup, path, validate, console, held, note, deadline, signals):
        config, device = setup
        used.add(device)
        at_once[device] += 1
        assert at_once[device] == 1
        most[0] = max(most[0], sum(at_once.values()))
        try:
            for epoch in range(1, 1000):
                time.sleep(0.01)
                note({"epoch": epoch, "valid": {config.select_by: epoch / 1000}})
                if time.monotonic() >= deadline:
                    raise loop.OutOfTime
        finally:
            at_once[device] -= 1

    monkeypatch.setattr(halving.loop, "fit", fit)
    monkeypatch.setattr(halving.placement, "all_devices", lambda: ["a", "b", "c"])
    monkeypatch.setattr(halving.fitting, "assembled", lambda config, split, devices: ((config, *devices), None))
    monkeypatch.setattr(halving.fitting, "claim", lambda *_: None)
    monkeypatch.setattr(halving.Halving, "against", lambda self: None)
    monkeypatch.setattr(tuning, "evaluation", lambda *_, **__: None)
    found = jaxrec.tune(made_log(), 0.1, tmp_path / "tune")
    assert used == {"a", "b", "c"} and most[0] == 3
    assert sum(trial.seconds for trial in found.trials) > 1.5 * found.seconds


def test_what_fails_is_named_and_left_out(pretended, monkeypatch):
    whole, assembled = halving.loop.fit, halving.fitting.assembled

    def fits(config, *args):
        if config.length == 48:
            raise jaxrec.UserError("a basket has 10 events: set config.length=11")
        return assembled(config, *args)

    def fit(config, *args, **kwargs):
        if config.model.dim == 128:
            raise growing.AnotherModel("the model is another: set this key as it was")
        if config.model.layers == 3:
            raise preflight.TooLarge("this does not fit the memory: set another")
        if config.model.name == "gru4rec":
            raise NotFinite("the loss is not finite at step 3: lower it")
        whole(config, *args, **kwargs)

    monkeypatch.setattr(halving.loop, "fit", fit)
    monkeypatch.setattr(halving.fitting, "assembled", fits)
    found = jaxrec.tune(made_log(), 30, pretended[2])
    failed = {trial.name: trial.failed for trial in found.trials if trial.failed}
    assert failed["layers-3"] == "this does not fit the memory" and "not finite at step 3" in failed["gru4rec"]
    assert failed["length-48"] == "a basket has 10 events" and failed["dim-128"] == "the model is another"
    assert not found.trials[0].failed and "layers-3" in repr(found)
    with pytest.raises(jaxrec.UserError, match="a basket has 10 events"):  # which no trial can mend
        jaxrec.tune(made_log(), 60, pretended[2].with_name("other"), length=48)


def test_a_trial_on_a_mesh_has_all_devices(monkeypatch):
    monkeypatch.setattr(halving.placement, "all_devices", lambda: ["a", "b"])
    made = lambda keys: halving.Halving(made_log(), Path("nowhere"), 1, None, keys, print).lanes
    assert (len(made({})), len(made({"mesh": {"item": 2}})), len(made({"mesh.item": 2}))) == (2, 1, 1)
    assert made({"mesh.item": 2}).first == ["a", "b"]


@pytest.mark.parametrize("nth", some([1, 5, 14, *range(20, 34)], 5, 26))
def test_a_search_that_is_cut_off_goes_on(pretended, monkeypatch, nth):
    """With the same trials as without the interruption."""
    clock, ran, folder = pretended
    log, whole = made_log(), halving.Halving._train
    uncut = jaxrec.tune(log, 60, folder.with_name("uncut"))
    ran.clear()
    clock.now = 0.0

    def cut(self, *args, **kwargs):
        if len(ran) == nth:
            raise KeyboardInterrupt
        whole(self, *args, **kwargs)

    monkeypatch.setattr(halving.Halving, "_train", cut)
    with pytest.raises(KeyboardInterrupt):
        jaxrec.tune(log, 60, folder)
    monkeypatch.setattr(halving.Halving, "_train", whole)
    found = jaxrec.tune(log, 60, folder)
    assert clock.now <= 3600
    assert {"model.dropout", "model.layers"} <= found.trials[0].changes.keys()
    names = lambda tuning: {trial.name for trial in tuning.trials if not trial.of}
    assert names(found) == names(uncut)
    (folder / halving.STATE).write_text("{")
    with pytest.raises(jaxrec.UserError, match="damaged"):
        jaxrec.tune(log, 60, folder)


def test_candidates_are_new_each_and_leave_what_is_set_alone():
    log, keys = made_log(), {"model": {"dim": 8}, "epochs": 3}
    base = search.configuration({}, keys, log)
    found = list(islice(search.candidates(base, keys, log), 40))
    made = [search.configuration(changes, keys, log) for changes in found]
    assert len(made) == 40 and base not in made and all(a != b for i, a in enumerate(made) for b in made[:i])
    assert all(config.model.dim == 8 and config.epochs == 3 for config in made)
    assert found == list(islice(search.candidates(base, keys, log), 40))
    assert len({search.trial(changes).name for changes in found}) == 40


def test_candidates_follow_what_the_log_knows():
    rows = made_rows()
    brands = pl.DataFrame({"sku": rows["sku"].unique(maintain_order=True)}).with_columns(brand=pl.lit("A"))
    logs = [jaxrec.prepare(rows.drop("at", "rating"), **{**COLUMNS, "time": "none"})]
    logs.append(jaxrec.prepare(rows, items=brands, **COLUMNS))
    found = [list(islice(search.candidates(search.configuration({}, {}, log), {}, log), 20)) for log in logs]
    without, shown = {"features": "", "id_dropout": 0.0}, {"context": "gap,hour,weekday,month"}
    assert without in found[1] and shown in found[1]
    assert not any({"context", "features"} & changes.keys() for changes in found[0])


def test_minutes_are_a_number():
    with pytest.raises(jaxrec.UserError, match="minutes ten: a number above 0"):
        jaxrec.tune(made_log(), "ten")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--minutes", "0"], "minutes 0.0: a number above 0"),
        (["--set", "epohcs=3"], "did you mean config.epochs?"),
        (["--set", "workdir=x"], "not a key that can be set here"),
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


def test_what_failed_is_behind_whatever_it_had_reached():
    failed = search.Trial("a", {}, score=0.9, failed="the loss is not finite")
    assert failed.rank < search.Trial("b", {}, score=0.0).rank


def test_a_trial_has_its_best_score_though_it_falls_again(pretended, monkeypatch):
    clock, _, folder = pretended

    def fit(config, path, validate, console, held, note, deadline, signals):
        for epoch, score in enumerate((0.2, 0.5, 0.3), 1):
            clock.now += 5
            note({"epoch": epoch, "valid": {config.select_by: score}})
            if clock.now >= deadline:
                raise loop.OutOfTime

    monkeypatch.setattr(halving.loop, "fit", fit)
    ended = [trial for trial in jaxrec.tune(made_log(), 5, folder).trials if trial.ended]
    assert ended and {trial.score for trial in ended} == {0.5}


def test_few_changes_are_tried_once_each_however_often_they_are_drawn(monkeypatch):
    monkeypatch.setattr(search, "DRAWS", 60)
    single = [{"model.dropout": 0.4}, {"model.layers": 1}, {"model.dim": 16}]
    monkeypatch.setattr(search, "_single", lambda *_: iter(single))
    log, keys = made_log(), {"model": {"layers": 1}, "epochs": 3}
    base = search.configuration({}, keys, log)
    found = [search.configuration(changes, keys, log) for changes in search.candidates(base, keys, log)]
    assert len(found) == 3  # each of the two that are not set, and both
    assert all(a != b for i, a in enumerate([base, *found]) for b in [base, *found][:i])
