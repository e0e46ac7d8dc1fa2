"""How a training that is asked for in Python ends, and what it leaves behind where it can't begin."""

import signal
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, strategies as st

import jaxrec
from jaxrec.api import fitting
from jaxrec.data import splits
from jaxrec.system.errors import UserError
from jaxrec.training.fit import Stopped


@pytest.mark.parametrize(("signum", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_training_that_a_signal_stops_ends_as_programs_do_and_says_how_to_go_on(signum, ends, capsys):
    with pytest.raises(ends) as ended, fitting.ending(Path("runs/a")):
        raise Stopped(signum)
    said = str(ended.value) if ends is KeyboardInterrupt else capsys.readouterr().out
    assert f"stopped by signal {signum:d}; a checkpoint is saved: workdir='runs/a' resumes from it" in said
    assert ends is KeyboardInterrupt or ended.value.code == 128 + signum


def test_what_cannot_begin_leaves_no_new_workdir_and_takes_none_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    single = jaxrec.prepare(pl.DataFrame({"user": [1, 2], "item": [1, 2]}), time="none")
    (own := tmp_path / "own").mkdir()
    for workdir in (None, own):
        with pytest.raises(UserError):
            jaxrec.fit(single, workdir=workdir)
    assert own.exists() and not [*Path("runs").iterdir()]


@pytest.mark.parametrize("config", [5, ["sasrec"], 0.5])
def test_a_configuration_of_another_type_is_refused(config):
    with pytest.raises(UserError, match=f"config is a {type(config).__name__}: give a name, a file, a ConfigDict or"):
        fitting._recipe(config, {}, None)


@given(st.integers(0, 40), st.sampled_from(["keep", "exclude"]))
def test_seen_items_are_advised_where_many_targets_are_such_and_they_are_left_out(repeats, seen):
    split = SimpleNamespace(valid=SimpleNamespace(target=range(40)))
    said = fitting.advice(SimpleNamespace(seen=seen), split, repeats)
    assert ("config.seen=keep chooses" in said) == (seen == "exclude" and splits.many_repeat(repeats, 40))
    assert not said or said.startswith("; ")
