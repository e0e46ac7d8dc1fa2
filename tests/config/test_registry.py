"""Entries are found by name, by import path, and once registered; anything else is refused."""

import dataclasses
import sys

import pytest

import jaxrec
from jaxrec.config import registry
from jaxrec.models.entry import ModelEntry
from jaxrec.system.errors import UserError


@pytest.mark.parametrize("kind", registry.PLACES)
def test_every_own_entry_is_found_by_its_name(kind):
    for name in registry.names(kind):
        entry = registry.find(kind, name)
        assert (entry.kind, entry.name) == (kind, name)


def test_one_that_is_registered_is_found_and_listed(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    mine = dataclasses.replace(registry.find("model", "sasrec"), name="mine")
    assert registry.register(mine) is mine and registry.find("model", "mine") is mine
    assert registry.names("model")[-1] == "mine"
    with pytest.raises(UserError, match="no loss 'mine'"):
        registry.find("loss", "mine")
    with pytest.raises(UserError, match="jaxrec has a model 'sasrec' of its own"):
        registry.register(registry.find("model", "sasrec"))
    with pytest.raises(UserError, match="is not an entry"):
        registry.register("mine")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no.such.module:MODEL", "No module named 'no'"),
        ("examples.own_model:NOTHING", "has no attribute 'NOTHING'"),
        ("examples.own_model:Options", "is a type, where a model is expected"),
        ("examples.own_loss:LOSS", "is a LossEntry, where a model is expected"),
        (":", "give an import path"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_a_message(path, said):
    places = [*sys.path]
    with pytest.raises(UserError, match=said):
        registry.find("model", path)
    assert isinstance(registry.find("model", "examples.own_model:MODEL"), ModelEntry)
    assert sys.path == places


def test_the_front_door_registers():
    assert jaxrec.register is registry.register
