"""Decision regions in a real headless browser against a real server."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE = 90_000  # ms, for a busy machine
NAMES = ("vanilla-3xconv-s0", "dverge-3xconv-s0")
MODELS = ("submodel 1", "submodel 2", "submodel 3", "mixture")


def test_see_every_models_regions_and_change_the_direction(server: str, page: Page) -> None:
    page.goto(f"{server}/regions?ensembles={NAMES[0]}&ensembles={NAMES[1]}")
    figures = [
        page.get_by_label(re.compile(f"^Decision regions of {model} of {name}:"))
        for name in NAMES
        for model in MODELS
    ]
    for figure in figures:
        expect(figure).to_be_visible(timeout=PATIENCE)
        expect(figure.locator(".mark-rect path").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Within the eps ball on this plane")).to_have_count(2)
    expect(page.get_by_text("seed 0")).to_have_count(8)
    seed = page.get_by_role("spinbutton", name="Direction's seed")
    seed.fill("3")
    seed.press("Enter")
    expect(page).to_have_url(re.compile("direction=3"))
    for figure in figures:
        expect(figure.get_by_text("seed 3")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".dv-legend")).to_contain_text("frog (true class)")
    for mark in ("stAlertContentError", "stException"):
        expect(page.get_by_test_id(mark)).to_have_count(0)
