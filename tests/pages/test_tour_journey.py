"""Home, the tour and the report as a person walks through them, in a real headless browser."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from dverge.exploration.tour import SHOWN
from pages.widgets.tour.steps import STEPS
from tests.pages.walk import BROWSER, is_accessible, nothing_went_wrong, settle

pytestmark = BROWSER
MAIN = "[data-testid=stMain]"


def test_from_home_to_the_attack_that_it_shows(server: str, page: Page) -> None:
    page.goto(server)
    verdict = page.get_by_role("status").filter(has_text="fooled")
    expect(verdict).to_be_visible()
    expect(page.get_by_text("Computed now")).to_be_visible()
    is_accessible(page)
    shown = verdict.text_content() or ""
    page.get_by_role("link", name="Open this in the attack lab").click()
    expect(page.get_by_role("spinbutton", name="Test image")).to_be_visible()
    expect(verdict).to_have_text(shown)
    expect(page).to_have_url(re.compile("victim=submodel"))
    nothing_went_wrong(page)


def test_the_tour_with_the_keyboard_alone(server: str, page: Page) -> None:
    page.goto(f"{server}/tour")
    for number, step in enumerate(STEPS, 1):
        expect(page.get_by_role("heading", name=step.title)).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("^Next Shortcut"))).to_be_visible()
        if number > 1:
            expect(page).to_have_url(re.compile(f"tour-step={number}"))
        settle(page)
        if number in (1, 4, 5, 7):
            is_accessible(page, None if number == 1 else MAIN)
        page.keyboard.press("ArrowRight")
    expect(page.get_by_text(SHOWN[2]).first).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name=STEPS[-2].title)).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name=STEPS[-2].title)).to_be_visible()
    nothing_went_wrong(page)


def test_the_report_is_accessible(server: str, page: Page) -> None:
    page.goto(f"{server}/report")
    expect(page.get_by_role("table").first).to_be_visible()
    settle(page)
    is_accessible(page)
