"""Configurations by name or file: shipped ones are complete, and errors name the file."""

import pytest

from jaxrec.config import recipes
from jaxrec.system.errors import UserError

SHIPPED = ("quickstart", "sasrec_ml1m", "sasrec_softmax_ml1m", "sasrec_softmax_beauty")


@pytest.mark.parametrize(
    "text",
    ["some/path", "ml-1m", "synthetic:users=5,items=9", "[1, 2]", "None", "inf", "", "{[]: 1}", "-" * 100_000 + "1"],
)
def test_what_is_no_number_stays_text(text):
    assert recipes.literal(text) == text


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_are_found_by_name_and_are_whole(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, stem = recipes.load(name, {"model.dim": "32", "optim.learning_rate": "1", "dataset": "elsewhere"})
    assert (
        stem == name and config.model.dim == 32 and config.optim.learning_rate == 1.0 and config.dataset == "elsewhere"
    )


@pytest.mark.parametrize("text", ["1_000", "0x10", "1.50", "True", "'quoted'"])
def test_a_dataset_is_named_as_it_stands(text):
    assert recipes.load("quickstart", {"dataset": text})[0].dataset == text
    values = recipes.read("default", dict.fromkeys(recipes.TEXTS, text)).values
    assert {values[key] for key in recipes.TEXTS} == {text}


def test_an_unknown_config_lists_the_shipped():
    with pytest.raises(UserError) as error:
        recipes.load("sasrek", {})
    assert all(name in str(error.value) for name in SHIPPED)


@pytest.mark.parametrize(
    ("text", "said"),
    [("x = 1", "defines get_config"), ("def get_config(): return 1 / 0", "ZeroDivisionError"), ("def", "SyntaxError")],
)
def test_a_broken_config_file_is_named(tmp_path, text, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        recipes.load(str(path), {})
    assert str(path) in str(error.value) and said in str(error.value)
