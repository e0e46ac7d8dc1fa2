"""The page in a real browser, where there is one: built by keyboard, changed by clicks, explained."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def page():
    """A page of headless Chromium that fails the test on any error of a script, and can reach this machine alone."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(20_000)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(lambda url: "//127.0.0.1" not in url, lambda route: errors.append(route.request.url))
        yield page
        browser.close()
        assert not errors


def titles(page, part):
    return page.locator(f"{part} .name").all_inner_texts()


def test_a_history_is_built_changed_and_explained(page, serve, path):
    served = serve("--workdir", path)
    page.goto(served.address)
    page.locator("#popular button").first.click()
    page.keyboard.type("film 07")  # the focus is in the search
    page.keyboard.press("Enter")  # at once: what was typed counts, not what is shown
    page.locator("#history li").nth(1).wait_for()
    page.locator("#next .strip").nth(9).wait_for()
    assert page.get_by_role("combobox").get_attribute("aria-expanded") == "false"
    first, second = titles(page, "#history")
    assert second == "Film 07" and "10 recommendations for 2 items" in page.locator("#said").inner_text()
    answer = served.post("/recommend", history=[int(first[-2:]), 7]).json()
    assert titles(page, "#next") == [item["title"] for item in answer["items"]]
    assert page.locator("#history .moved").count() == 2

    page.get_by_role("button", name="Move Film 07 up").press("Enter")
    page.locator("#next .strip").nth(9).wait_for()
    assert titles(page, "#history") == ["Film 07", first]
    assert page.evaluate("document.activeElement.ariaLabel") == "Move Film 07 down"  # it can't go further up
    answer = served.post("/recommend", history=[7, int(first[-2:])]).json()
    page.wait_for_function(
        "title => document.querySelector('#next .name').innerText === title", arg=answer["items"][0]["title"]
    )

    page.get_by_role("button", name="Similar to Film 07").click()
    page.locator("#similar li").nth(9).wait_for()
    expected = served.post("/similar", item=7).json()["items"]
    assert titles(page, "#similar") == [item["title"] for item in expected]
    page.locator("#similar .name").first.click()
    page.get_by_role("button", name=f"Remove {expected[0]['title']}").click()
    assert titles(page, "#history") == ["Film 07", first]

    page.reload()  # the address keeps the history
    page.locator("#next .strip").nth(9).wait_for()
    assert titles(page, "#history") == ["Film 07", first]
    page.get_by_role("button", name="Clear").click()
    assert titles(page, "#history") == [] and titles(page, "#next") == []


def test_it_asks_for_the_token(page, serve, path):
    served = serve("--workdir", path, JAXREC_TOKEN="s3cret")
    page.goto(served.address)
    page.get_by_label("This service asks for a token").fill("s3cret")
    page.keyboard.press("Enter")
    page.locator("#popular button").nth(7).wait_for()
    assert page.locator("#token").is_hidden() and page.locator("#trouble").is_hidden()
