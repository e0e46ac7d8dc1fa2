"""A history is built, changed, filtered and explained, by hand and by keyboard; nothing of it is lost."""

import json

import pytest

from .conftest import IDS, TITLES, best, link, settled, shown, titles

# --- a history is built, changed and explained


def test_a_history_is_built_changed_and_explained(open_page, served, shot):
    page = open_page(served.address)
    page.locator("#popular button").nth(7).wait_for()
    shot(page, "start")
    page.locator("#popular button").first.click()
    page.keyboard.type("film 07")  # the focus is in the search
    page.keyboard.press("Enter")  # at once: what was typed counts, not what is shown
    page.locator("#history li").nth(1).wait_for()
    settled(page)
    assert page.get_by_role("combobox").get_attribute("aria-expanded") == "false"
    first, second = titles(page, "#history")
    one = IDS[TITLES.index(first)]
    assert second == "Film 07" and "10 recommendations for 2 items" in page.locator("#said").inner_text()
    assert titles(page, "#next") == best(served, [one, 7])
    assert page.locator("#history.explained .moved b").count() == 2

    page.get_by_role("button", name="Move Film 07 up").press("Enter")
    page.wait_for_function("document.querySelector('#history .name').textContent === 'Film 07'")
    settled(page)
    assert titles(page, "#history") == ["Film 07", first]
    assert page.evaluate("document.activeElement.ariaLabel") == "Move Film 07 down"  # it can't go further up
    assert titles(page, "#next") == best(served, [7, one])

    page.get_by_role("button", name="Similar to Film 07").first.click()
    page.locator("#similar[aria-busy=false] li").nth(9).wait_for()
    expected = served.post("/similar", item=7).json()["items"]
    assert titles(page, "#similar") == [shown(item["title"], item["id"]) for item in expected]
    shot(page, "similar")
    page.locator("#similar .name").first.click()
    page.locator("#history li").nth(2).get_by_role("button", name="Remove").click()
    assert titles(page, "#history") == ["Film 07", first]

    page.reload()  # the address keeps the history
    settled(page)
    assert titles(page, "#history") == ["Film 07", first]


@pytest.mark.slow
def test_it_asks_for_the_token_until_it_is_right(open_page, serve, path, shot):
    page = open_page(link(serve("--workdir", path, JAXREC_TOKEN="s3cret"), [7]))
    page.get_by_label("This service asks for a token").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_label("The service does not accept this token: try another").fill("s3cret")
    shot(page, "token")
    assert page.locator("#next-note").is_hidden()
    assert not page.locator(".trouble:visible").count()
    page.keyboard.press("Enter")
    page.locator("#next li").nth(9).wait_for()
    assert titles(page, "#history") == ["Film 07"]
    assert page.locator("#token").is_hidden() and not page.locator(".trouble:visible").count()


# --- nothing is lost


def test_what_was_cut_comes_back(open_page, served, shot):
    page = open_page(link(served, [1, 5, 9]))
    settled(page)
    page.get_by_role("button", name="Clear").click()
    page.locator("#undo").get_by_text("The history of 3 items is cleared.").wait_for()
    shot(page, "undo")
    page.keyboard.press("Tab")  # the focus is in the search, Undo is next
    page.keyboard.press("Enter")
    settled(page)
    assert titles(page, "#history") == [TITLES[0], "Film 05", "Film 09"] and page.locator("#undo").is_hidden()
    page.get_by_role("button", name="Remove Film 05").click()
    assert titles(page, "#history") == [TITLES[0], "Film 09"]
    page.get_by_role("button", name="Undo").click()
    assert titles(page, "#history") == [TITLES[0], "Film 05", "Film 09"]


def test_the_browsers_back_goes_through_the_histories(open_page, served):
    page = open_page(served.address)
    seen = [[]]
    for film in (5, 6):
        page.get_by_role("combobox", name="Search").fill(f"film {film:02}")
        page.keyboard.press("Enter")
        page.locator("#history li").nth(film - 5).wait_for()
        seen.append(titles(page, "#history"))
    page.get_by_role("button", name="Clear").click()
    for expected in reversed(seen):
        page.go_back()
        page.wait_for_function("count => document.querySelectorAll('#history li').length === count", arg=len(expected))
        assert titles(page, "#history") == expected
    page.go_forward()
    settled(page, 1)
    assert titles(page, "#history") == seen[1] and titles(page, "#next") == best(served, [5])
    page.goto("about:blank")
    page.go_back()  # also from another page
    settled(page, 1)
    assert titles(page, "#history") == seen[1]


@pytest.mark.slow
def test_a_history_of_a_thousand_items(open_page, served, shot):
    history = [1 + place % 20 for place in range(1000)]
    page = open_page("about:blank")
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page.goto(link(served, history))
    settled(page)
    assert titles(page, "#history") == [TITLES[id - 1] for id in history]
    assert len(asked) < 20 and asked.count("titles") == 1
    assert titles(page, "#next") == best(served, history)
    assert page.locator("#next li").first.locator(".strip i").count() == 60
    assert "the newest 60 items of the history" in page.locator("#next-foot").inner_text()
    shot(page, "thousand")
    page.get_by_role("combobox", name="Search").fill("film 21")
    page.keyboard.press("Enter")
    page.locator("#next-trouble").get_by_text("1000").wait_for()  # more than the service takes: said, not cut
    page.go_back()
    settled(page)
    assert json.loads(page.evaluate("decodeURIComponent(location.hash.slice(1))")) == history


def test_what_is_known_of_events_is_shown_and_sent(open_page, served, shot):
    events = [
        {"item": 3, "type": "view", "time": 1_700_000_000},
        {"item": 4},
        {"item": 5, "weight": 2.5, "time": 1_700_000_060},
    ]
    page = open_page(link(served, {"events": events}))
    settled(page)
    said = page.locator("#history .titled").all_text_contents()
    assert said[0].endswith("view, 2023-11-14 22:13 UTC") and said[2].endswith("weight 2.5, 2023-11-14 22:14 UTC")
    assert said[1] == titles(page, "#history")[1]
    shot(page, "events")
    page.locator("#popular, #next button.name").last.click()
    settled(page)
    named = json.loads(page.evaluate("decodeURIComponent(location.hash.slice(1))"))["events"]
    assert named[:3] == events and len(named) == 4
    page.locator("#history .row [data-act=down]").first.click()
    settled(page)
    named = json.loads(page.evaluate("decodeURIComponent(location.hash.slice(1))"))["events"]
    assert named[:2] == [{"item": 4}, {"item": 3, "type": "view"}]  # when it was is not known there


@pytest.mark.slow
def test_an_address_that_names_no_history_is_said(open_page, served):
    page = open_page(served.address)
    for address in [
        "#[1,",
        "#{}",
        "#[1,null]",
        "#%ff",
        "#3",
        "#[1.5]",
        "#null",
        "#[[1]]",
        '#{"history":[1],"where":3}',
        '#{"events":[1]}',
    ]:
        page.goto("about:blank")
        page.goto(f"{served.address}/{address}")
        page.locator("#next-note").get_by_text("The address names no history that could be read").wait_for()
        page.locator("#popular button").first.click()
        settled(page, 1)
        assert page.locator("#next-note").is_hidden()


# --- filters


def test_filters_are_sent_as_the_service_takes_them(open_page, served, shot):
    page = open_page(link(served, [1]))
    settled(page)
    asked = []

    def take(route):
        asked.append(route.request.post_data_json)
        assert route.request.headers["content-type"] == "application/json"
        route.fulfill(json={"items": [], "unknown": [], "fallback": False})

    page.route("**/recommend", take)
    page.locator("#filter summary").click()

    def add(name, value, how=None):
        before = len(asked)
        page.get_by_label("Attribute").select_option(name)
        if how:
            page.get_by_label("How it compares").select_option(how)
        control = page.get_by_label(f"Value of {name}")
        kind = control.evaluate("each => each.tagName")
        control.select_option(value) if kind == "SELECT" else control.fill(value)
        page.get_by_role("button", name="Add", exact=True).click()
        while len(asked) == before:
            page.wait_for_timeout(10)
        return asked[-1]["where"]

    assert add("year", "1994", "is") == {"year": 1994}
    assert add("price", "50", "below") == {"year": 1994, "price": {"below": 50}}
    assert add("price", "0.5", "at least")["price"] == {"below": 50, "at_least": 0.5}
    assert add("in_stock", "yes")["in_stock"] is True
    assert add("genres", "Drama")["genres"] == "Drama"
    where = add("genres", "War")
    assert where == {
        "year": 1994,
        "price": {"below": 50, "at_least": 0.5},
        "in_stock": True,
        "genres": ["Drama", "War"],
    }
    page.get_by_text("Nothing is left to recommend: no other item fits the filters.").wait_for()
    shot(page, "filters")
    page.get_by_role("button", name="Remove the filter: price below 50").click()
    page.get_by_role("button", name="Remove the filter: genres is War").press("Enter")
    page.wait_for_function("document.querySelectorAll('#filters li').length === 4")
    assert asked[-1]["where"] == {**where, "price": {"at_least": 0.5}, "genres": "Drama"}
    page.reload()  # the address keeps them
    page.locator("#filters li").nth(3).wait_for()
    page.go_back()
    page.locator("#filters li").nth(4).wait_for()


def test_filters_filter(open_page, served):
    page = open_page(link(served, [1], {"genres": ["Drama", "Comedy"], "year": 1991, "in_stock": False}))
    settled(page, 1)
    place = [TITLES.index(title) for title in titles(page, "#next")]
    assert place and all(each % 3 < 2 and each % 5 == 1 and each % 2 == 1 for each in place)
    page.goto(link(served, [1], {"colour": "red"}))
    page.locator("#next-trouble").get_by_text("colour").wait_for()
    assert not page.get_by_role("button", name="Try again").count()  # it would not help
    page.get_by_role("button", name="Remove the filter: colour is red").click()
    settled(page)


# --- by keyboard, and read out


def test_everything_has_a_name_and_the_focus_stays(open_page, served):
    page = open_page(link(served, [1, 5, 9], {"genres": ["Drama", "Comedy"]}))
    settled(page)
    page.locator("#filter summary").click()
    nameless = page.locator("button, input, select, a").evaluate_all(
        "all => all.filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length)).map(String)"
    )
    assert not nameless
    page.locator("#next .name").nth(3).focus()
    page.keyboard.press("Enter")
    page.locator("#history li").nth(3).wait_for()
    settled(page)
    assert page.evaluate("[...document.querySelectorAll('#next .name')].indexOf(document.activeElement)") == 3
    page.locator("#history [data-act=remove]").nth(1).press("Enter")
    assert page.evaluate("document.activeElement.ariaLabel") == "Remove Film 09"
    settled(page)
    assert page.evaluate("document.activeElement.ariaLabel") == "Remove Film 09"
    search = page.get_by_role("combobox", name="Search")
    search.focus()
    assert page.locator("#found").is_hidden()
    search.press("ArrowDown")
    page.locator("#found li").nth(9).wait_for()
    search.press("ArrowDown")
    assert search.get_attribute("aria-activedescendant") == "found-0"
    search.press("Escape")
    assert page.locator("#found").is_hidden()
