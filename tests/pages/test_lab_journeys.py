"""The attack lab's tabs and the tour as a person uses them, in a real headless browser."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from dverge.exploration.tour import SHOWN
from pages.widgets.tour.steps import STEPS
from tests.exploration.test_snippet import printed
from tests.pages.conftest import choose_option
from tests.pages.test_lab import NAME

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE = 90_000  # ms, for a busy machine


def open_tab(page: Page, server: str, tab: str, more: str = "") -> None:
    page.goto(f"{server}/lab?ensembles={NAME}{more}")
    page.get_by_role("tab", name=tab).click(timeout=PATIENCE)


def test_scrub_and_play_the_attack(server: str, page: Page) -> None:
    open_tab(page, server, "Step by step")
    line = page.get_by_text(re.compile(r"^Step \d+ of 10:"))
    expect(line).to_have_text(re.compile("^Step 10 of 10:"), timeout=PATIENCE)
    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(line).to_have_text(re.compile("^Step 7 of 10:"))
    expect(page).to_have_url(re.compile("lab-step=7"))
    page.reload()
    expect(line).to_have_text(re.compile("^Step 7 of 10:"), timeout=PATIENCE)
    panel = page.get_by_role("tabpanel", name="Step by step")
    with page.expect_download() as download:
        panel.get_by_role("button", name="PNG", exact=True).click()
    assert download.value.suggested_filename == f"{NAME}-image-5-step-7.png"
    slider.focus()
    perturbation = page.get_by_role("img", name="Perturbation").last
    before = perturbation.get_attribute("src")
    page.keyboard.press("Home")
    expect(line).to_have_text(re.compile("^Step 0 of 10:"))
    expect(perturbation).not_to_have_attribute("src", before or "")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(line).to_have_text(re.compile("^Step [1-9] of 10:"))
    expect(line).to_have_text(re.compile("^Step 10 of 10:"), timeout=PATIENCE)
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_who_is_fooled_and_the_smallest_eps(server: str, page: Page) -> None:
    open_tab(page, server, "Who is fooled")
    table = page.get_by_role("table").filter(has_text="then says")
    expect(table.get_by_role("row")).to_have_count(6, timeout=PATIENCE)
    expect(table.get_by_role("rowheader", name="mixture")).to_be_visible()
    page.get_by_role("tab", name="Smallest eps").click()
    expect(page.get_by_text("upper bound")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("img", name=re.compile("smallest change"))).to_be_visible()
    page.get_by_role("tab", name="Beside noise").click()
    expect(
        page.get_by_text(re.compile(r"noise of its size does in \d+ of 100 tries"))
    ).to_be_visible(timeout=PATIENCE)


def test_push_towards_a_class(server: str, page: Page) -> None:
    page.goto(f"{server}/lab?ensembles={NAME}&image=5")
    page.get_by_text("More settings").click(timeout=PATIENCE)
    page.get_by_role("combobox", name="Target").click()
    page.get_by_role("option", name="ship", exact=True).click()
    page.get_by_role("button", name="Attack", exact=False).last.click()
    expect(page).to_have_url(re.compile("target=ship"))
    page.get_by_role("tab", name="Step by step").click()
    expect(page.get_by_text("cross-entropy to the target")).to_be_visible(timeout=PATIENCE)
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert '"target_class": "ship"' in Path(download.value.path()).read_text()


def test_several_images_and_the_grid(server: str, page: Page) -> None:
    open_tab(page, server, "Several images")
    box = page.get_by_role("textbox", name="Test images")
    expect(box).to_have_value("0-15", timeout=PATIENCE)
    box.fill("5, 9, 13")
    box.press("Enter")
    expect(page.get_by_text("3 test images, each attacked")).to_be_visible(timeout=PATIENCE)
    expect(page).to_have_url(re.compile("several=5"))
    page.get_by_role("button", name="Add the one above").click()
    expect(box).to_have_value("5, 9, 13, 5")
    page.get_by_role("tab", name="Targets").click()
    choose_option(page, "Images of each class", "10")
    page.get_by_role("button", name="Attack every class").click()
    expect(page.get_by_text(re.compile("targeted attacks reach their target"))).to_be_visible(
        timeout=3 * PATIENCE
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Grid as CSV").click()
    grid = pd.read_csv(Path(download.value.path()))
    assert len(grid) == 90 and grid["value"].between(0, 100).all()


def test_the_code_of_the_view_says_what_the_view_says(server: str, page: Page) -> None:
    page.goto(f"{server}/lab?ensembles={NAME}")
    page.get_by_role("button", name="Code").click(timeout=PATIENCE)
    code = page.get_by_test_id("stCode").locator("code")
    expect(code).to_contain_text("examine(")
    for line in printed(code.inner_text()):
        model, answer, verdict = re.fullmatch(r"(.+): (\w+) [\d.]+%, (\w+).*", line).groups()  # type: ignore[union-attr]
        row = page.get_by_role("row", name=re.compile(f"^{model}"))
        expect(row.get_by_role("cell").nth(2)).to_contain_text(answer)
        expect(row.get_by_role("cell").nth(3)).to_contain_text(verdict)


def test_the_tour_with_the_keyboard_alone(server: str, page: Page) -> None:
    page.goto(f"{server}/tour")
    for number, step in enumerate(STEPS, 1):
        expect(page.get_by_role("heading", name=step.title)).to_be_visible(timeout=PATIENCE)
        if number > 1:
            expect(page).to_have_url(re.compile(f"tour-step={number}"))
        forward = page.get_by_role("button", name=re.compile("^Next Shortcut"))
        expect(forward).to_be_visible(timeout=PATIENCE)
        page.wait_for_timeout(500)  # a person looks first; a key pressed at once may be lost
        page.keyboard.press("ArrowRight")
    expect(page.get_by_text(SHOWN[2]).first).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name=STEPS[-2].title)).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(page.get_by_role("heading", name=STEPS[-2].title)).to_be_visible(timeout=PATIENCE)
