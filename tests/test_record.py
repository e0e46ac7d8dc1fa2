"""Results are named by the device, and name no path of the machine that they were measured on."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest
from hypothesis import given, strategies as st

from benchmarks import record
from jaxrec.config import parsing, recipes
from jaxrec.data import sources

RESULTS = sorted(record.RESULTS.glob("*.json"))


@given(st.lists(st.sampled_from(["--runs", "runs/a", "a=b", "3", "https://a.org/b"])), st.sampled_from(["", "--peer="]))
def test_an_absolute_path_is_named_path_and_all_else_is_as_it_was_typed(words, flag):
    command = record.command_of(
        ["/home/ann/benchmarks/bulk.py", *words, f"{flag}/home/ann/env/bin/python", f"{flag}~/x"]
    )
    assert command == " ".join(["python -m benchmarks.bulk", *words, f"{flag}PATH", f"{flag}PATH"])


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_no_result_names_a_place(path):
    assert not re.search(r"(^|[\s=])[/~]\w", json.loads(path.read_text())["command"])


RECIPES = {path.stem for path in recipes.shipped()}


@pytest.mark.parametrize("path", [path for path in RESULTS if path.stem in RECIPES], ids=lambda path: path.stem)
def test_what_is_named_as_a_recipe_was_trained_by_it(path):
    made = json.loads(path.read_text()).get("training")
    if made is None:
        pytest.skip("it is from before results told their keys")
    now = recipes.load(path.stem, {})[0]
    then = parsing.from_dict(made | {"seed": now.seed})
    public = sources.PUBLIC.get(now.dataset)
    assert then.dataset in (public.names if public else (now.dataset,))
    assert replace(then, dataset=now.dataset) == now


@given(st.text(min_size=1), st.text(min_size=1))
def test_results_of_two_kinds_of_accelerators_have_two_files(one, other):
    assert re.fullmatch(r"[a-z0-9-]*", record.slug(one))
    plain = lambda kind: re.findall(r"[a-z0-9]+", kind.lower())
    assert (record.slug(one) == record.slug(other)) == (plain(one) == plain(other))


@pytest.mark.parametrize(("platform", "name"), [("cpu", "rate.json"), ("gpu", "rate_nvidia-h100-80gb-hbm3.json")])
def test_a_result_is_named_by_its_device_unless_it_is_a_cpu(platform, name, monkeypatch):
    device = SimpleNamespace(platform=platform, device_kind="NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert record.place("rate", "json").name == name
