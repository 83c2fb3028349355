"""Distilled features in a real headless browser against a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE = 90_000  # ms, for a busy machine
NAMES = ("vanilla-3xconv-s0", "dverge-3xconv-s0")
ANSWER = re.compile(r"sked about a feature distilled on another submodel")


def feature(page: Page, model: int, layer: int) -> Locator:
    return page.get_by_role("img", name=f"Distilled on submodel {model}, layer {layer}.")


def answer(page: Page) -> Locator:
    return page.get_by_test_id("stMarkdown").filter(has_text=ANSWER)


def type_in(page: Page, name: str, value: int) -> None:
    box = page.get_by_role("spinbutton", name=name, exact=True)
    box.fill(str(value))
    box.press("Enter")


def no_errors(page: Page) -> None:
    for mark in ("stAlertContentError", "stException"):
        expect(page.get_by_test_id(mark)).to_have_count(0)


def saved(page: Page, name: str) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    return Path(download.value.path())


def test_open_change_the_target_scrub_switch_and_download(server: str, page: Page) -> None:
    page.goto(f"{server}/distilled")
    for model, layer in ((1, 1), (2, 3), (3, 5)):
        expect(feature(page, model, layer)).to_have_count(2, timeout=PATIENCE)
    for name in NAMES:
        expect(answer(page)).to_contain_text(f"of 30 times in {name}")
    first = feature(page, 1, 5).first.get_attribute("src") or ""

    type_in(page, "Target", 25)  # a bird; the source is an automobile
    expect(answer(page)).to_contain_text("submodels say bird, the target,", timeout=PATIENCE)
    expect(page).to_have_url(re.compile(r"target-image=25\b"))
    expect(feature(page, 1, 5).first).not_to_have_attribute("src", first)
    last = feature(page, 1, 5).first.get_attribute("src") or ""

    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(answer(page)).to_contain_text("After 7 of 10 steps", timeout=PATIENCE)
    expect(page).to_have_url(re.compile(r"at=7\b"))
    expect(feature(page, 1, 5).first).not_to_have_attribute("src", last)
    page.keyboard.press("Home")
    expect(answer(page)).to_contain_text("After 0 of 10 steps", timeout=PATIENCE)
    source = page.get_by_role("img", name="Source: ")
    expect(feature(page, 2, 3).first).to_have_attribute("src", source.get_attribute("src") or "")
    page.keyboard.press("End")

    page.get_by_role("button", name=f"Remove {NAMES[1]}").or_(
        page.get_by_label(re.compile(f"{NAMES[1]}, close", re.I))
    ).first.click()
    expect(feature(page, 1, 1)).to_have_count(1, timeout=PATIENCE)
    expect(answer(page)).to_contain_text("of 30 times; asked about their own")

    record = json.loads(saved(page, "JSON").read_text())
    assert record["sentence"] in (answer(page).first.text_content() or "")
    (only,) = record["ensembles"]
    assert only["checkpoint"]["name"] == NAMES[0] and len(only["checkpoint"]["digest"]) == 64
    assert (only["source"]["number"], only["target"]["number"]) == (990, 25)
    assert saved(page, "PNG").read_bytes().startswith(b"\x89PNG")
    no_errors(page)


def test_a_link_reproduces_the_view(server: str, page: Page) -> None:
    page.goto(f"{server}/distilled?source-image=5&target-image=9&layer=2&at=4&perturbations=true")
    expect(answer(page)).to_contain_text("After 4 of 10 steps", timeout=PATIENCE)
    expect(page.get_by_text("Layer 2, answer by answer")).to_have_count(2)
    shown, said = feature(page, 3, 2).last.get_attribute("src"), answer(page).first.text_content()
    page.reload()
    expect(feature(page, 3, 2).last).to_have_attribute("src", shown or "", timeout=PATIENCE)
    expect(answer(page).first).to_have_text(said or "")
    no_errors(page)


def test_measure_many_pairs_and_go_to_robustness(server: str, page: Page) -> None:
    page.goto(f"{server}/distilled?ensembles={NAMES[0]}")
    expect(feature(page, 3, 5)).to_be_visible(timeout=PATIENCE)
    page.get_by_text("Measure many pairs").click()
    table = page.get_by_role("table").filter(has_text="Source unchanged")
    expect(table.get_by_role("row").last).to_contain_text(NAMES[0], timeout=PATIENCE)
    expect(
        page.get_by_text(re.compile(r"so often or more often in \d+ % of these"))
    ).to_be_visible()
    no_errors(page)
    page.get_by_role("link", name=re.compile("on the Robustness page")).click()
    expect(page).to_have_url(re.compile("/robustness"))
    expect(page.get_by_role("tab", name="Diversity")).to_have_attribute(
        "aria-selected", "true", timeout=PATIENCE
    )
