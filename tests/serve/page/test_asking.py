"""The page asks when, and for whom, where a model is shown that; and someone without a history."""

import json
from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest

from jaxrec.config import parsing as configs
from jaxrec.data import splits
from jaxrec.data.attributes import user_columns
from jaxrec.data.interactions import UserColumns, from_sequences
from jaxrec.training import setup as setups
from jaxrec.training.workdirs import workdir

from ..conftest import CONFIG, Served, save
from .conftest import link, settled, titles

pytestmark = pytest.mark.slow
NOW = 1_700_000_040  # 22:14 UTC


@pytest.fixture(scope="module")
def asking(chromium, tmp_path_factory):
    """The command, with a model that is shown the time of asking and columns of users, its params drawn."""
    path, random = tmp_path_factory.mktemp("asking") / "run", np.random.default_rng(0)
    data = from_sequences([list(range(1, 31)), *(random.integers(1, 31, 8).tolist() for _ in range(30))])
    times = np.concatenate([np.arange(length) for length in np.diff(data.offsets)]) * 3_600_000_000
    about = pl.DataFrame({"gender": ["FM"[u % 2] for u in range(31)], "age": [20 + u for u in range(31)]})
    data = replace(data, times=times, user_columns=UserColumns(about))
    keys = {"context": "gap,asked_hour", "user_features": "gender,age", "start_prob": 0.2, "length": 16}
    config = configs.from_dict(CONFIG | keys)
    data = user_columns.chosen(data, config.user_features)
    split = splits.last_item(data)
    path.mkdir()
    workdir.claim(path, config, data, "histories", data.catalogue.counted(splits.training_counts(split)))
    state = setups.initial(setups.setup(config, split, jax.devices()[:1]))
    noisy = lambda leaf: leaf + 0.5 * random.normal(size=leaf.shape).astype(np.float32)
    save(path, 1, state._replace(params=jax.tree.map(noisy, jax.device_get(state.params))))
    served = Served("--workdir", path, "--limit", "batch=2")
    yield served
    served.process.kill()
    served.process.wait()


def named(page):
    return json.loads(page.evaluate("decodeURIComponent(location.hash.slice(1))"))


def best(served, **asked):
    return [str(item["id"]) for item in served.post("/recommend", **asked).json()["items"]]


def answered(page, wanted):
    page.wait_for_function(
        "wanted => [...document.querySelectorAll('#next .name')].map(each => each.textContent).join() === wanted",
        arg=",".join(wanted),
    )


def test_when_and_for_whom_is_asked_counts_is_kept_and_comes_back(open_page, asking, shot):
    page = open_page(link(asking, [3, 4]))
    settled(page)
    plain = best(asking, history=[3, 4])
    assert titles(page, "#next") == plain
    page.get_by_text("When, and for whom").click()
    page.get_by_label("Asked at (UTC)").fill("2023-11-14T22:14")
    page.get_by_label("Asked at (UTC)").blur()
    answered(page, best(asking, history=[3, 4], now=NOW))
    page.get_by_label("gender").select_option("M")
    page.get_by_label("age").fill("33")
    page.get_by_label("age").blur()
    everything = {"history": [3, 4], "now": NOW, "user_columns": {"gender": "M", "age": 33}}
    wanted = best(asking, **everything)
    answered(page, wanted)
    settled(page)
    assert wanted != plain and named(page) == everything
    shot(page, "asking")
    asked = []
    page.on(
        "request", lambda request: asked.append(request.post_data_json) if request.url.endswith("/influence") else None
    )
    page.reload()
    settled(page)
    answered(page, wanted)
    assert page.get_by_label("Asked at (UTC)").input_value() == "2023-11-14T22:14"
    assert (page.get_by_label("gender").input_value(), page.get_by_label("age").input_value()) == ("M", "33")
    assert asked[-1]["now"] == NOW and asked[-1]["user_columns"] == everything["user_columns"]
    for _ in range(3):
        page.go_back()
    answered(page, plain)
    assert named(page) == [3, 4] and page.get_by_label("gender").input_value() == ""


def test_a_time_before_the_history_is_said(open_page, asking):
    page = open_page(link(asking, {"events": [{"item": 3, "time": NOW}]}))
    settled(page)
    page.get_by_text("When, and for whom").click()
    page.get_by_label("Asked at (UTC)").fill("2001-01-01T00:00")
    page.get_by_label("Asked at (UTC)").blur()
    page.locator("#next-trouble").get_by_text("now is before the newest of times: give a time after them").wait_for()


def test_someone_without_a_history_is_answered_by_what_is_known(open_page, asking, shot):
    page = open_page(asking.address)
    page.locator("#popular button").nth(7).wait_for()
    page.get_by_text("When, and for whom").click()
    page.get_by_label("gender").select_option("F")
    answered(page, best(asking, history=[], user_columns={"gender": "F"}))
    shot(page, "asking-alone")
    assert page.locator("#next-empty").is_hidden() and page.locator("#next-note").is_hidden()
    page.reload()
    answered(page, best(asking, history=[], user_columns={"gender": "F"}))
    page.get_by_label("gender").select_option("")
    page.locator("#next-empty").wait_for()
    assert not page.locator("#next li").count()
