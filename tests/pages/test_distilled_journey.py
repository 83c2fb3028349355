"""Distilled features as a person uses them, in a real headless browser."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.pages.walk import (
    BROWSER,
    DVERGE,
    VANILLA,
    downloaded,
    downloaded_json,
    enter,
    is_accessible,
    nothing_went_wrong,
)

pytestmark = BROWSER
ANSWER = re.compile(r"sked about a feature distilled on another submodel")


def feature(page: Page, model: int, layer: int) -> Locator:
    return page.get_by_role("img", name=f"Distilled on submodel {model}, layer {layer}.")


def test_a_pair_from_its_features_to_many_pairs(server: str, page: Page) -> None:
    answer = page.get_by_test_id("stMarkdown").filter(has_text=ANSWER)
    page.goto(f"{server}/distilled")
    for model, layer in ((1, 1), (2, 3), (3, 5)):
        expect(feature(page, model, layer)).to_have_count(2)
    for name in (VANILLA, DVERGE):
        expect(answer).to_contain_text(f"of 30 times in {name}")
    expect(page.get_by_role("heading", name="Choose an image")).to_be_visible()
    is_accessible(page)

    first = feature(page, 1, 5).first.get_attribute("src") or ""
    enter(page, "Target", 25)  # a bird; the source is an automobile
    expect(answer).to_contain_text("submodels say bird, the target,")
    expect(page).to_have_url(re.compile(r"target-image=25\b"))
    expect(feature(page, 1, 5).first).not_to_have_attribute("src", first)

    last = feature(page, 1, 5).first.get_attribute("src") or ""
    page.get_by_role("slider", name="Step").focus()
    for step in (9, 8, 7):
        page.keyboard.press("ArrowLeft")
        expect(answer).to_contain_text(f"After {step} of 10 steps")
    expect(page).to_have_url(re.compile(r"at=7\b"))
    expect(feature(page, 1, 5).first).not_to_have_attribute("src", last)
    page.keyboard.press("Home")
    expect(answer).to_contain_text("After 0 of 10 steps")
    source = page.get_by_role("img", name="Source: ")
    expect(feature(page, 2, 3).first).to_have_attribute("src", source.get_attribute("src") or "")
    page.keyboard.press("End")

    page.get_by_role("button", name=f"Remove {DVERGE}").or_(
        page.get_by_label(re.compile(f"{DVERGE}, close", re.I))
    ).first.click()
    expect(feature(page, 1, 1)).to_have_count(1)
    expect(answer).to_contain_text("of 30 times; asked about their own")

    record = downloaded_json(page)
    assert record["sentence"] in (answer.first.text_content() or "")
    (only,) = record["ensembles"]
    assert only["checkpoint"]["name"] == VANILLA and len(only["checkpoint"]["digest"]) == 64
    assert (only["source"]["number"], only["target"]["number"]) == (990, 25)
    assert downloaded(page, "PNG").startswith(b"\x89PNG")

    page.get_by_text("Measure many pairs").click()
    table = page.get_by_role("table").filter(has_text="Other submodels: overlap")
    expect(table.get_by_role("row").last).to_contain_text(VANILLA)
    expect(page.get_by_text(re.compile(r"as often or more often in \d+ % of"))).to_be_visible()
    nothing_went_wrong(page)
    page.get_by_role("link", name=re.compile("on the Robustness page")).click()
    expect(page).to_have_url(re.compile("/robustness"))
    expect(page.get_by_role("tab", name="Diversity")).to_have_attribute("aria-selected", "true")

    # A link gives the view back, also after a reload.
    page.goto(f"{server}/distilled?source-image=5&target-image=9&layer=2&at=4&perturbations=true")
    expect(answer).to_contain_text("After 4 of 10 steps")
    expect(page.get_by_text("Layer 2, answer by answer")).to_have_count(2)
    shown = feature(page, 3, 2).last.get_attribute("src") or ""
    sentence = answer.first.text_content() or ""
    page.reload()
    expect(feature(page, 3, 2).last).to_have_attribute("src", shown)
    expect(answer.first).to_have_text(sentence)
    nothing_went_wrong(page)
