"""Configurations of earlier versions are read, with one warning; renamed keys keep their meaning."""

import copy
import logging

import pytest

from jaxrec.config import earlier, parsing, recipes
from jaxrec.system.errors import UserError

OLD = {
    "dataset": "synthetic",
    "seed": 0,
    "epochs": 2,
    "batch": 8,
    "length": 10,
    "eval_every": 1,
    "patience": 0,
    "split": "sessions",
    "select_by": "mrr@20",
    "split_q": 0.8,
    "valid": 0.2,
    "stream": "lanes",
    "rows_at_once": 4,
    "model": {"name": "gru4rec", "dim": 8, "layers": 1, "dropout": 0.1, "heads": 1, "norm": "query", "expand": 4},
    "loss": {
        "name": "gbce",
        "negatives": 3,
        "sampling": "uniform",
        "share": "sequence",
        "collisions": "keep",
        "t": 0.5,
    },
    "optim": {"name": "adam", "rate": 1e-3},
}


@pytest.fixture(autouse=True)
def afresh():
    earlier.warn.cache_clear()


def test_old_keys_and_values_are_those_of_now(caplog):
    with caplog.at_level(logging.WARNING, "jaxrec"):
        config = parsing.from_dict(copy.deepcopy(OLD))
        assert parsing.from_stored(copy.deepcopy(OLD)) == config
    assert (config.test_quantile, config.valid_fraction, config.stream) == (0.8, 0.2, "session-parallel")
    assert (config.microbatch_rows, config.optim.learning_rate) == (4, 1e-3)
    assert (config.loss.share, config.loss.remove_accidental_hits, config.loss.gbce_t) == ("row", False, 0.5)
    assert len(caplog.records) == 1
    for old, new in earlier.RENAMED.items():
        if old in parsing.flatten(OLD):
            assert f"config.{old} is renamed to config.{new}" in caplog.text
    assert "config.stream=lanes is renamed to config.stream=session-parallel" in caplog.text


@pytest.mark.parametrize("key", earlier.REMOVED)
def test_a_key_that_is_gone_is_read_where_it_changes_nothing(key, caplog):
    def with_key(value):
        values = copy.deepcopy(OLD)
        *groups, last = key.split(".")
        (values[groups[0]] if groups else values)[last] = value
        return values

    for nothing in (earlier.REMOVED[key], 0):
        assert parsing.from_dict(with_key(nothing)) == parsing.from_dict(copy.deepcopy(OLD))
    for read in (parsing.from_dict, parsing.from_stored):
        with pytest.raises(UserError, match=f"config.{key} was removed.*leave it out"):
            read(with_key(0.1))
    with pytest.raises(UserError, match=f"config.{key} was removed"):
        parsing.from_dict(recipes.read("default", {key: "0.1"}).values)


@pytest.mark.parametrize(
    ("model", "key"), [(model, key) for model, keys in earlier.WITHOUT_EFFECT.items() for key in keys]
)
def test_a_key_that_had_no_effect_for_a_model_has_none(model, key):
    values = recipes.read("sasrec_ml1m", {}).values
    values["model"]["name"] = model
    before = parsing.from_dict(copy.deepcopy(values))
    values["model"][key] = 4
    assert parsing.from_dict(values) == before


def test_what_is_read_is_written_by_the_names_of_now(caplog):
    config = parsing.from_dict(OLD)
    caplog.clear()
    assert parsing.from_dict(parsing.to_dict(config)) == config
    assert not caplog.records


def test_a_key_by_both_names_is_refused():
    with pytest.raises(UserError, match=r"config\.valid is renamed to config\.valid_fraction, and both are given"):
        parsing.from_dict(OLD | {"valid_fraction": 0.1})


def test_the_command_line_changes_a_key_by_either_name(tmp_path):
    for key, value in {"optim.rate": 0.5, "optim.learning_rate": 0.25}.items():
        config, _ = recipes.load("quickstart", {key: str(value)})
        assert config.optim.learning_rate == value
    (tmp_path / "mine.py").write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict(" + repr(OLD) + ")\n"
    )
    config, _ = recipes.load(str(tmp_path / "mine.py"), {"valid_fraction": "0.3", "loss.share": "slot"})
    assert (config.valid_fraction, config.loss.share) == (0.3, "slot")


@pytest.mark.parametrize("key", ["heads", "window"])
def test_a_key_that_a_model_has_not_says_nothing_at_its_old_default_alone(key):
    values = copy.deepcopy(OLD)
    values["model"][key] = earlier.DEFAULTS["model"][key]
    parsing.from_dict(values)
    values["model"][key] = 7
    with pytest.raises(UserError, match=rf"config\.model\.{key} is for .*: leave it out for gru4rec"):
        parsing.from_dict(values)
