"""What the walks through the app in a real browser share."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as TookTooLong

BROWSER = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("browser"),  # one worker, so one browser and one server
]
FADED_IN = """() => Promise.race([
    Promise.allSettled(document.getAnimations().map(each => each.finished)),
    new Promise(resolve => setTimeout(resolve, 1000)),  // some animations never end
])"""
GROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 25)"}
EVERY_RULE = {"resultTypes": ["violations"]}
CONTRAST = {"runOnly": ["color-contrast"]}  # all that the themes differ in
VANILLA, DVERGE = "vanilla-3xconv-s0", "dverge-3xconv-s0"


def settle(page: Page) -> None:
    """Wait until the page's script has run to its end."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-script-state", "notRunning")


def go_to(page: Page, title: str) -> None:
    page.get_by_test_id("stTopNav").get_by_role("link", name=title).click()


def enter(page: Page, box: str, value: object) -> None:
    """Type a number into a box and press Enter."""
    field = page.get_by_role("spinbutton", name=box, exact=True)
    field.fill(str(value))
    field.press("Enter")


def choose(page: Page, group: str, option: str) -> None:
    page.get_by_role("radiogroup", name=group).get_by_text(option, exact=True).click()


def choose_option(page: Page, box: str, option: str) -> None:
    """Choose from a list; again if the page, still building itself, closes it at once."""
    for _ in range(10):
        settle(page)
        page.get_by_role("combobox", name=box).click()
        try:
            page.get_by_role("option", name=option, exact=True).click(timeout=1_500)
            return
        except TookTooLong:
            pass
    pytest.fail(f"the list {box} did not stay open")


def downloaded(place: Page | Locator, button: str, file_name: str | None = None) -> bytes:
    """The content of a download."""
    page = place if isinstance(place, Page) else place.page
    with page.expect_download() as download:
        place.get_by_role("button", name=button, exact=True).click()
    assert file_name in (None, download.value.suggested_filename)
    return Path(download.value.path()).read_bytes()


def downloaded_json(place: Page | Locator) -> Any:
    return json.loads(downloaded(place, "JSON"))


def number(text: str | None) -> int:
    """The first whole number in a text."""
    return int(re.findall(r"\d+", text or "")[0])


def nothing_went_wrong(page: Page) -> None:
    for mark in ("stAlertContentError", "stException"):
        expect(page.get_by_test_id(mark)).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)


def is_accessible(page: Page, part: str | None = None) -> None:
    """Axe finds no serious fault in the page as it stands, in the light theme and in the dark one.

    Args:
        page: in the light theme.
        part: a CSS selector, where the rest of the page was checked before.
    """
    has_no_violation(page, part)
    switch_theme(page, "dark")
    has_no_violation(page, part, CONTRAST)
    switch_theme(page, "light")


def switch_theme(page: Page, scheme: Literal["light", "dark"]) -> None:
    """As when the viewer's system changes its theme, and the page is drawn again with R."""
    page.emulate_media(color_scheme=scheme)
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", GROUND[scheme])
    other = page.locator(".dv.light" if scheme == "dark" else ".dv.dark")
    for _ in range(10):  # a key pressed while the page changes may be lost
        settle(page)
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("r")
        try:
            expect(other).to_have_count(0, timeout=3_000)
            break
        except AssertionError:
            pass
    settle(page)


def has_no_violation(
    page: Page, part: str | None = None, options: dict[str, list[str]] = EVERY_RULE
) -> None:
    """Axe finds no serious fault in the page, or a part of it, by some rules."""
    page.evaluate(FADED_IN)
    violations = Axe().run(page, context=part, options=options).response["violations"]
    assert [
        f"{each['id']}: {node['html'][:200]} ({node['failureSummary'][:200]})"
        for each in violations
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ] == []
