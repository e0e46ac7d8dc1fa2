"""Every key is listed with its values, default and meaning, and the list matches what a configuration accepts."""

import dataclasses

import pytest

from jaxrec import cli
from jaxrec.config import parsing, recipes, reference, registry
from jaxrec.config.fields import key as a_key
from jaxrec.config.keys import Config

KEYS = reference.listed()


def test_every_key_says_what_it_means():
    assert [key.name for key in KEYS if not key.meaning] == []
    assert [key.name for key in KEYS if not key.values] == []


@pytest.mark.parametrize("path", recipes.shipped(), ids=lambda path: path.stem)
def test_every_key_of_a_shipped_configuration_is_listed(path):
    values = parsing.flatten(recipes.read(str(path), {}).values)
    model, loss = values["model.name"], values["loss.name"]
    listed = {key.name for key in KEYS if not key.of or {model, loss} & {*key.of}}
    assert values.keys() - listed <= {"loss.negatives"}  # may be 0 for a loss without negatives


@pytest.mark.parametrize("kind", ["model", "loss"])
def test_every_key_of_every_entry_is_listed_once(kind):
    for name in registry.names(kind):
        having = [f"{kind}.{field.name}" for field in dataclasses.fields(registry.find(kind, name).options)]
        listed = [key.name for key in KEYS if key.name.startswith(f"{kind}.") and (not key.of or name in key.of)]
        assert sorted(listed) == sorted(having)


def test_what_is_told_is_what_a_configuration_takes():
    told = {key.name: key for key in KEYS}
    for field in dataclasses.fields(Config):
        if field.name not in ("model", "loss", "optim", "mesh") and field.default is not dataclasses.MISSING:
            assert told[field.name].default == (str(field.default) or '""')
        for choice in field.metadata.get("choices", ()):
            assert choice in told[field.name].values


def test_comments_before_and_beside_a_field_are_read():
    @dataclasses.dataclass
    class Options:
        """Not a meaning."""

        beside: int = a_key(None, 1)  #: beside it
        #: before it,
        #: in two lines
        before: str = "#: no comment"
        nothing: int = 0  # no meaning
        #: before one of
        several: int = a_key(
            None,
            2,
        )
        after: int = 3

    assert reference.meanings(Options) == {
        "beside": "beside it",
        "before": "before it, in two lines",
        "several": "before one of",
    }


def test_the_command_lists_those_with_the_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert cli.main(["keys", "model.", "caser"]) == 0
    said = capsys.readouterr().out
    assert "model.window" in said and "number of most recent items" in said and "model.heads" not in said
    assert cli.main(["keys", "no such key"]) == 2
    assert "without a word all are listed" in capsys.readouterr().err
