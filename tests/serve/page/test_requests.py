"""What is shown belongs to what it is beside, whatever becomes of a request."""

import pytest

from .conftest import REFUSED, Held, best, link, settled, titles


def test_the_list_is_dimmed_while_it_is_asked_for(open_page, served, shot):
    page = open_page(link(served, [1]), reduced_motion="reduce")
    settled(page)
    held = Held(page, "recommend")
    page.locator("#next .name").first.click()
    held.wait(1)
    busy = page.locator("#next[aria-busy=true]")
    assert busy.evaluate("list => getComputedStyle(list).opacity") == "0.35"
    assert not page.locator("#next .strip i").count() and not page.locator("#history .moved b").count()
    assert page.locator("#next-state").inner_text() == "asking …"
    page.wait_for_timeout(400)
    shot(page, "dimmed")
    held.routes[0].continue_()
    page.locator("#next[aria-busy=false]").wait_for()
    assert page.locator("#next").evaluate("list => getComputedStyle(list).opacity") == "1"


def test_late_answers_are_dropped(open_page, served):
    page = open_page(link(served, [1]))
    settled(page)
    asked, explained = Held(page, "recommend"), Held(page, "influence")
    for film in (5, 6):
        page.get_by_role("combobox", name="Search").fill(f"film {film:02}")
        page.locator("#found li", has_text=f"Film {film:02}").click()
        asked.wait(film - 4)
    for route in reversed(asked.routes):  # the answer to [1, 5] comes after that to [1, 5, 6]
        route.continue_()
    page.locator("#next[aria-busy=false]").wait_for()
    explained.wait(1)
    assert titles(page, "#next") == best(served, [1, 5, 6])
    page.get_by_role("button", name="Remove Film 06").click()
    asked.wait(3)
    explained.routes[0].continue_()  # what each of [1, 5, 6] did
    page.wait_for_timeout(100)
    assert page.locator("#next[aria-busy=true]").count() and not page.locator("#history .moved b").count()
    asked.routes[2].continue_()
    page.locator("#next[aria-busy=false]").wait_for()
    assert titles(page, "#next") == best(served, [1, 5])
    page.get_by_role("button", name="Clear").click()
    assert titles(page, "#next") == [] and titles(page, "#history") == []


FAULTS = {
    "unreachable": (lambda route: route.abort("connectionrefused"), "can't be reached"),
    "bad-gateway": (
        lambda route: route.fulfill(status=502, content_type="text/html", body=REFUSED),
        "a proxy before it answered with status 502",
    ),
    "html": (
        lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Log in</h1>"),
        "Something other than the service answered: perhaps a proxy, or the login page",
    ),
    "cut": (lambda route: route.fulfill(status=200, body='{"items": [{"id": 1,'), "Something other than the service"),
    "come-again": (
        lambda route: route.fulfill(status=503, headers={"Retry-After": "600"}, body="busy"),
        "asks to try again in 600 seconds",
    ),
    "failed": (
        lambda route: route.fulfill(status=500, json={"errors": [{"field": None, "message": "its log says why"}]}),
        "its log says why",
    ),
}


@pytest.mark.parametrize(
    "fault",
    [
        fault if fault in ("unreachable", "bad-gateway") else pytest.param(fault, marks=pytest.mark.slow)
        for fault in FAULTS
    ],
)
def test_what_goes_wrong_is_said_and_tried_again(open_page, served, shot, fault):
    answer, words = FAULTS[fault]
    page = open_page(link(served, [1]))
    settled(page)
    page.route("**/recommend", answer)
    page.locator("#next .name").first.click()
    page.locator("#next-trouble").get_by_text(words).wait_for()
    shot(page, f"error-{fault}")
    assert not titles(page, "#next") and len(titles(page, "#history")) == 2  # nothing beside what it does not belong to
    assert page.locator("#next-note").is_hidden() and page.locator("#next[aria-busy=false]").count()
    page.unroute("**/recommend")
    page.get_by_role("button", name="Try again").click()
    settled(page)
    assert not page.locator(".trouble:visible").count()


def test_it_goes_on_when_the_device_is_online_again(open_page, served, shot):
    page = open_page(link(served, [1]))
    settled(page)
    page.context.set_offline(True)
    page.locator("#next .name").first.click()
    page.locator("#next-trouble").get_by_text("This device is offline.").wait_for()
    page.get_by_role("combobox", name="Search").fill("film")
    page.locator("#search-trouble").get_by_text("This device is offline.").wait_for()
    shot(page, "error-offline")
    page.context.set_offline(False)
    settled(page)
    assert not page.locator(".trouble:visible").count()


@pytest.mark.slow
def test_a_busy_service_is_asked_again(open_page, served, shot):
    page = open_page(link(served, [1]))
    settled(page)
    answers = iter([1, 1])

    def busy(route):
        seconds = next(answers, None)
        route.fulfill(status=503, headers={"Retry-After": str(seconds)}) if seconds else route.continue_()

    page.route("**/recommend", busy)
    page.locator("#next .name").first.click()
    page.get_by_text("the service is busy: asking again in 1 second …").wait_for()
    assert page.locator("#next[aria-busy=true]").count()
    page.wait_for_timeout(600)
    shot(page, "busy")
    settled(page)


@pytest.mark.slow
def test_the_rest_goes_on_where_one_part_fails(open_page, served):
    page = open_page(served.address)
    page.locator("#popular button").nth(7).wait_for()
    for path in ("influence", "similar"):
        page.route(f"**/{path}", lambda route: route.fulfill(status=502, body=REFUSED))
    page.goto(link(served, [1, 5]))
    page.locator("#influence-trouble").get_by_text("status 502").wait_for()
    assert titles(page, "#next") == best(served, [1, 5])
    page.get_by_role("button", name="Similar to Film 05").first.click()
    page.locator("#similar-trouble").get_by_text("status 502").wait_for()
    page.unroute("**/influence")
    page.locator("#influence-trouble button").click()
    settled(page)
