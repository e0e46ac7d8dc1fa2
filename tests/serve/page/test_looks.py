"""What the page looks like: on a phone and on a desk, with any id and any title."""

import re
from itertools import pairwise

import pytest

from .conftest import BIG, DESK, FILMS, IDS, PHONES, TITLES, best, link, settled, shown, titles

# --- on a phone, by touch, by eye


@pytest.mark.parametrize(("width", "height"), PHONES)
def test_titles_are_read_on_a_phone(open_page, served, shot, width, height):
    page = open_page(link(served, [1, 2, 12, 13]), width, height, phone=True)
    settled(page)
    page.locator("#filter summary").click()
    shot(page, f"phone-{width}")
    shot(page, f"phone-{width}-next", "#next-section")
    assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing to scroll sideways
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.row .clamp')].map((title) => {
          const box = (part) => title.closest('.row').querySelector(part)?.getBoundingClientRect();
          const {bottom, width} = title.getBoundingClientRect();
          const lines = Math.round(title.clientHeight / parseFloat(getComputedStyle(title).lineHeight));
          const whole = title.scrollHeight - title.clientHeight <= 1;
          return {title: title.textContent, lines, whole, bottom, width,
            bar: box('.bar')?.top, under: box('.bar')?.bottom, strip: box('.strip')?.top};
        })"""
    )
    assert len(boxes) == 14
    for box in boxes:
        assert box["whole"] if len(box["title"]) < 60 else box["lines"] == 2, box
        assert box["lines"] <= 2 and box["width"] >= 0.55 * width, box
        if box["bar"] is not None:
            assert box["bottom"] <= box["bar"] and box["under"] <= box["strip"], box
    assert [box["lines"] for box in boxes[:4]] == [2, 2, 1, 1] and boxes[0]["title"] == TITLES[0]


@pytest.mark.parametrize(("width", "height"), [*PHONES, pytest.param(1024, 768, marks=pytest.mark.slow)])
def test_what_a_finger_hits_is_large(open_page, served, width, height):
    page = open_page(link(served, [1, 5], {"genres": "Comedy"}), width, height, phone=True)
    settled(page, 2)
    page.locator("#filter summary").click()
    page.get_by_role("button", name="Remove Film 05").click()
    page.get_by_role("combobox", name="Search").fill("film")
    page.locator("#found li").nth(9).wait_for()
    hit = page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, select, summary, [role=option]')]
          .filter((each) => each.checkVisibility()).map((each) => {
            const {width, height} = each.getBoundingClientRect();
            return [Math.round(width), Math.round(height), each.ariaLabel ?? (each.textContent || each.id)];
          })"""
    )
    assert len(hit) > 30 and {"Undo", "Clear", "Add", "API"} <= {name for *_, name in hit}
    assert not [each for each in hit if min(each[:2]) < 44]


@pytest.mark.parametrize(("width", "height"), [*PHONES, DESK])
def test_the_influence_of_sixty_items_is_told_apart(open_page, served, shot, width, height):
    history = [1 + place % FILMS for place in range(60)]
    page = open_page(link(served, history), width, height, phone=width < 500)
    settled(page, 600)
    shot(page, f"sixty-{width}", "#next-section")
    strokes = page.evaluate(
        """() => [...document.querySelectorAll('#next .row:first-child .strip i')]
          .map((each) => each.getBoundingClientRect()).map(({left, width}) => [left, width])"""
    )
    assert len(strokes) == 60 and min(width for _, width in strokes) >= 2.5
    assert all(left + 1 <= after for (left, _), (after, _) in pairwise(strokes))
    moved = served.post("/influence", history=history, items=[best_id(served, history)]).json()["influence"][0]
    words = page.locator("#legend").inner_text()
    assert titles(page, "#next")[0] in words and f"(+{max(moved):.2f})" in words
    assert (f"(−{-min(moved):.2f})" in words) == (min(moved) < 0)  # noqa: RUF001
    assert f"+{max(moved):.2f}" in page.locator("#next .strip i").evaluate_all("all => all.map((i) => i.title).join()")


def best_id(served, history):
    return served.post("/recommend", history=history).json()["items"][0]["id"]


def test_the_bars_are_explained_in_words(open_page, served):
    page = open_page(link(served, [1, 2]))
    settled(page)
    words = page.locator("#next-foot").inner_text()
    assert "half as long as the first bar means about half as likely" in words
    assert "A stroke for each item of the history, the oldest at the left: up, it raised the score; down" in words
    assert "What each item added to the score of" in page.locator("#legend").inner_text()
    page.locator("#next .act, #next [data-act=similar]").first.click()
    assert "the more alike by this model: the cosine" in page.locator("#similar-section .foot").inner_text()


@pytest.mark.parametrize(("width", "height"), [*PHONES, DESK])
def test_the_newest_item_is_in_view(open_page, served, shot, width, height):
    page = open_page(link(served, [*range(1, FILMS + 1)] * 2), width, height, phone=width < 500)
    newest_in_view = """() => {
      const list = document.querySelector('#history').getBoundingClientRect();
      const {top, bottom} = document.querySelector('#history').lastElementChild.getBoundingClientRect();
      return top >= Math.max(list.top, 0) - 1 && bottom <= Math.min(list.bottom, innerHeight) + 1;
    }"""
    settled(page, 1)
    assert page.evaluate(newest_in_view)
    page.locator("#history").evaluate("list => list.scrollTo(0, 0)")
    added = page.locator("#next .name").nth(4)
    title = added.text_content()
    added.click()
    page.wait_for_function(newest_in_view)
    settled(page, 1)
    assert titles(page, "#history")[-1] == title and page.evaluate(newest_in_view)
    shot(page, f"newest-{width}")


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_it_moves_and_shines_no_more_than_is_wished(open_page, served, shot, scheme):
    page = open_page(link(served, [1, 5, 9]), color_scheme=scheme, reduced_motion="reduce")
    settled(page)
    shot(page, scheme)
    assert page.locator("#next").evaluate("list => getComputedStyle(list).transitionDuration") == "0s"
    ground, ink = page.locator("body").evaluate(
        "body => [getComputedStyle(body).backgroundColor, getComputedStyle(body).color]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, ink)]
    assert (light[0] > light[1]) == (scheme == "light")


# --- any id, any title


def test_every_title_is_shown_as_it_stands(open_page, served, shot):
    ids = IDS[FILMS:]
    expected = [shown(title, id) for title, id in zip(TITLES[FILMS:], ids, strict=True)]
    page = open_page(link(served, list(map(str, ids))))
    settled(page)
    assert titles(page, "#history") == expected
    assert page.locator("#history").evaluate("list => list.querySelectorAll('img, .name b').length") == 0
    names = page.locator(".row .clamp, #found li")
    assert set(names.evaluate_all("all => all.map((each) => each.dir)")) == {"auto"}
    assert page.evaluate("document.documentElement.scrollWidth") == 1120
    shot(page, "titles")
    page.get_by_role("button", name="Clear").click()
    for count, (title, name) in enumerate(zip(TITLES[FILMS:], expected, strict=True), 1):
        text = title.strip() if title and title.strip(" \u200b") else name
        page.get_by_role("combobox", name="Search").fill(text[:100])
        page.keyboard.press("Enter")
        page.wait_for_function("count => document.querySelectorAll('#history li').length === count", arg=count)
        assert titles(page, "#history")[-1] == name
    settled(page)
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    shot(page, "titles-320")


def test_ids_beyond_2_53_stay_apart(open_page, served):
    page = open_page(served.address)
    for count, id in enumerate(BIG, 1):
        page.get_by_role("combobox", name="Search").fill(str(id))
        page.keyboard.press("Enter")
        page.locator("#history li").nth(count - 1).wait_for()
    settled(page)
    expected = [f"Big {id}" for id in BIG]
    assert titles(page, "#history") == expected
    assert titles(page, "#next") == best(served, list(map(str, BIG)))
    for address in (link(served, BIG), link(served, list(map(str, BIG))), page.url):
        page.goto("about:blank")
        page.goto(address)
        settled(page)
        assert titles(page, "#history") == expected and titles(page, "#next") == best(served, list(map(str, BIG)))


def test_what_the_catalogue_lacks_is_said(open_page, served, shot):
    page = open_page(link(served, [1, "stranger"]))
    settled(page)
    assert titles(page, "#history") == [TITLES[0], "stranger"]
    assert page.get_by_text("not in the catalogue: left out").count() == 1
    page.route(
        "**/recommend",
        lambda route: route.fulfill(
            json={
                "items": [{"id": id, "title": f"Film {id:02}", "score": 0.25} for id in (5, 6)],
                "unknown": ["stranger"],
                "fallback": True,
            }
        ),
    )
    page.goto(link(served, ["stranger"]))
    page.get_by_text(
        "Nothing of this history is known to the model: these are simply the most popular items."
    ).wait_for()
    shot(page, "fallback")
    assert titles(page, "#next") == ["Film 05", "Film 06"] and not page.locator("#next .bar, #next .strip").count()
    assert page.locator("#next-foot").is_hidden()
