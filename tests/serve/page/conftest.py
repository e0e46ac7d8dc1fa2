"""The page in a real browser, where there is one: tests reach every state that it has, with a screenshot of each.

The screenshots are kept in the folder $JAXREC_SCREENSHOTS, else under pytest's temporary folder (--basetemp).
"""

import json
import os
import shutil
import string
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import jax
import numpy as np
import polars as pl
import pytest

from jaxrec.config import parsing as configs
from jaxrec.data import interactions, splits
from jaxrec.training import setup as setups
from jaxrec.training.workdirs import workdir

from ..conftest import CONFIG, Served, save

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FILMS, LONG = 30, 3  # plain titles; how many of them need two lines on a phone
BIG = [2**53 + 1, 2**53 + 2, 2**63 - 1]  # neighbours that are one number to JavaScript
ODD = [
    string.printable[:95],  # every ASCII character that is printed, the blank included
    "  two  blanks ",
    "🎬 👩‍👩‍👧 zwölf Stühle 🇫🇷",
    "שלום, עולם! (1999)",
    "ألف ليلة وليلة <b>2</b>",
    "\u202ereversed\u202c &amp; <img src=x>",
    "W" * 300,
    "",
    "   \u200b",
    None,
]
TITLES = [
    *(f"Film {v:02}" + " or: How I Learned to Read Long Titles" * (v <= LONG) for v in range(1, FILMS + 1)),
    *(f"Big {number}" for number in BIG),
    *ODD,
]
IDS = [*range(1, FILMS + 1), *BIG, *range(101, 101 + len(ODD))]
REFUSED = "<html><body><h1>502 Bad Gateway</h1></body></html>"
PHONES = [pytest.param(390, 844, marks=pytest.mark.slow), (320, 640)]
DESK = pytest.param(1120, 800, marks=pytest.mark.slow)


@pytest.fixture(scope="session")
def chromium():
    """Where a browser is; without one, or what drives it, the tests of the page are skipped."""
    pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    return found


@pytest.fixture(scope="module")  # while it runs, nothing else in this thread can have an event loop
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """`open_page(address, **context)`: a page; an error of a script, or reaching elsewhere, fails the test."""
    contexts, errors = [], []

    def open_page(address, width=1120, height=800, phone=False, **context):
        touch = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2} if phone else {}
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **touch, **context))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(lambda url: "//127.0.0.1" not in url, lambda route: errors.append(route.request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture(scope="session")
def served(chromium, tmp_path_factory):
    """The command, with items of odd titles, ids and attributes."""
    path = tmp_path_factory.mktemp("page") / "run"
    random = np.random.default_rng(0)
    sequences = [IDS, *(random.choice(IDS, 8).tolist() for _ in range(30))]
    data = interactions.from_sequences(sequences)
    place = [IDS.index(id) for id in data.catalogue.ids.tolist()]
    about = pl.DataFrame(
        {
            "title": [TITLES[each] for each in place],
            "genres": [["Drama|War", "Comedy", None][each % 3] for each in place],
            "year": [1990 + each % 5 for each in place],
            "price": [9.5 * (each % 4) for each in place],
            "in_stock": [each % 2 == 0 for each in place],
        }
    )
    data = replace(data, catalogue=data.catalogue._replace(about=about))
    split = splits.last_item(data)
    config = configs.from_dict(CONFIG | {"length": 16})
    path.mkdir()
    workdir.claim(path, config, data, "histories", data.catalogue.counted(splits.training_counts(split)))
    save(path, 1, setups.initial(setups.setup(config, split, jax.devices()[:1])))
    served = Served("--workdir", path, "--limit", "batch=2")
    yield served
    served.process.kill()
    served.process.wait()


@pytest.fixture
def shot(tmp_path_factory):
    """`shot(page, name)` keeps a screenshot of a state, `shot(page, name, part)` where that part begins."""
    folder = Path(os.environ.get("JAXREC_SCREENSHOTS") or tmp_path_factory.getbasetemp() / "screenshots")

    def shot(page, name, part=None):
        if part:
            page.locator(part).evaluate("each => each.scrollIntoView()")
        page.screenshot(path=folder / f"{name}.png")

    return shot


def link(served, history, where=None):
    """The address of a history."""
    named = history if where is None else {"history": history, "where": where}
    return f"{served.address}/#{quote(json.dumps(named))}"


def titles(page, part):
    return page.locator(f"{part} .name").all_text_contents()


def settled(page, count=10):
    """Wait until what comes next is there, and explained."""
    page.locator("#next[aria-busy=false] .strip i").nth(count - 1).wait_for()


def best(served, history, **settings):
    """The titles that the service answers, as the page names them."""
    answer = served.post("/recommend", history=history, **settings).json()
    return [shown(item["title"], item["id"]) for item in answer["items"]]


def shown(title, id):
    return title if title and title.strip(" \u200b") else str(id)


class Held:
    """Requests to a path that wait until they are let go, one by one."""

    def __init__(self, page, path):
        self.routes = []
        page.route(f"**/{path}", lambda route: self.routes.append(route))
        self.page = page

    def wait(self, count):
        while len(self.routes) < count:
            self.page.wait_for_timeout(10)
