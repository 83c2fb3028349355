"""The attack lab as a person uses it, in a real headless browser against a real server."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.exploration.test_snippet import printed
from tests.pages.walk import (
    BROWSER,
    CONTRAST,
    VANILLA,
    choose,
    choose_option,
    downloaded,
    downloaded_json,
    enter,
    go_to,
    has_no_violation,
    is_accessible,
    nothing_went_wrong,
    number,
    settle,
    switch_theme,
)

pytestmark = BROWSER
PANEL = "[role=tabpanel]"
TABS = (
    "Targets",
    "Several images",
    "Beside noise",
    "Smallest eps",
    "Who is fooled",
    "Step by step",
)


def test_attack_images_and_take_the_results_away(server: str, page: Page) -> None:
    verdict = page.get_by_role("status").filter(has_text="fooled")
    page.goto(f"{server}/train")
    expect(page.get_by_text("New training")).to_be_visible()
    go_to(page, "Attack lab")
    expect(page.get_by_text("One image says nothing about accuracy.")).to_be_visible()
    is_accessible(page)
    enter(page, "Test image", 9)
    expect(page.get_by_text("Test image 9, automobile.")).to_be_visible()
    page.get_by_role("spinbutton", name="Steps").fill("20")
    page.get_by_role("button", name="Attack", exact=False).last.click()
    expect(page).to_have_url(re.compile("steps=20"))
    expect(verdict).to_have_count(3)  # one ensemble of each method
    expect(verdict.first).to_have_text(re.compile(r"\d of 3 submodels fooled.*mixture"))
    expect(page.get_by_role("img", name="Perturbation").first).to_be_visible()

    thumbnail = page.get_by_role("button", name=re.compile("^ship, image ")).first
    expect(thumbnail).to_be_visible()
    image = number(thumbnail.text_content())
    thumbnail.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Test image {image}, ship.")).to_be_visible()
    expect(page).to_have_url(re.compile(f"image={image}"))

    # A link gives the view back, also after a reload.
    page.goto(f"{server}/lab?image=9&attack=FGSM&victim=submodel+2&ensembles={VANILLA}")
    expect(page.get_by_text("Test image 9, automobile.")).to_be_visible()
    expect(page.get_by_test_id("stTopNav")).to_be_visible()
    before = verdict.text_content() or ""
    record = downloaded_json(page)
    assert record["victim"] == "member-2" and record["attack"]["steps"] == 1
    assert record["image"] == "test image 9, automobile"
    assert record["checkpoint"]["name"] == VANILLA and len(record["checkpoint"]["digest"]) == 64
    assert downloaded(page, "PNG").startswith(b"\x89PNG")
    page.reload()
    expect(page.get_by_text("Test image 9, automobile.")).to_be_visible()
    expect(verdict).to_have_text(before)

    # Its code prints what it shows.
    page.get_by_role("button", name="Code").click()
    code = page.get_by_test_id("stCode").locator("code")
    expect(code).to_contain_text("examine(")
    for line in printed(code.inner_text()):
        match = re.fullmatch(r"(.+): (\w+) [\d.]+%, (\w+).*", line)
        assert match is not None
        row = page.get_by_role("row", name=re.compile(f"^{match[1]}"))
        expect(row.get_by_role("cell").nth(2)).to_contain_text(match[2])
        expect(row.get_by_role("cell").nth(3)).to_contain_text(match[3])
    page.keyboard.press("Escape")

    page.get_by_text("More settings").click()
    choose_option(page, "Target class", "ship")
    page.get_by_role("button", name="Attack", exact=False).last.click()
    expect(page).to_have_url(re.compile("target=ship"))
    page.get_by_role("tab", name="Step by step").click()
    expect(page.get_by_text("cross-entropy to the target")).to_be_visible()
    assert downloaded_json(page)["target_class"] == "ship"
    expect(page.get_by_role("status")).to_have_text(re.compile("Target reached on"))
    nothing_went_wrong(page)


def test_the_strong_attack(server: str, page: Page) -> None:
    page.goto(f"{server}/lab?image=9&ensembles={VANILLA}&victim=mean+logit")
    verdict = page.get_by_role("status")
    expect(page.get_by_text("victim mean logit")).to_be_visible()
    choose(page, "Attack", "Strong L∞")
    expect(page.get_by_text("Strong L∞, eps 8/255 = 0.0314, victim mixture")).to_be_visible()
    expect(page.get_by_text("Untargeted only.")).to_be_visible()
    expect(page.get_by_role("combobox", name="Target class")).to_have_count(0)
    expect(verdict).to_have_text(re.compile(r"\d of 3 submodels fooled.*mixture is fooled"))
    attempt = page.get_by_text(re.compile(r"^Shown is attempt \d+ of 10, the first to fool"))
    expect(attempt.first).to_be_visible()
    adversarial = page.get_by_role("img", name="Adversarial image")
    clean = page.get_by_role("img", name="Clean image").get_attribute("src")
    expect(adversarial).not_to_have_attribute("src", clean or "")
    page.mouse.move(700, 10)  # a button under the pointer has a paler ground
    is_accessible(page)

    before = adversarial.get_attribute("src") or ""
    page.get_by_role("spinbutton", name="Seed").fill("7")
    page.get_by_role("button", name="Attack", exact=False).last.click()
    expect(page).to_have_url(re.compile("seed=7"))
    expect(adversarial).not_to_have_attribute("src", before)
    record = downloaded_json(page)
    assert record["attack"]["name"] == "strong-linf" and record["attack"]["seed"] == 7
    arrays = np.load(io.BytesIO(downloaded(page, "NPZ", f"{VANILLA}-image-9.npz")))
    change = np.abs(arrays["adversarial"] - arrays["clean"]).max()
    assert change == pytest.approx(record["perturbation"]["linf"]) and change <= 8 / 255 + 1e-6
    page.get_by_role("button", name="Code").click()
    code = page.get_by_test_id("stCode").locator("code")
    expect(code).to_contain_text("StrongConfig(")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Smallest eps").click()
    expect(page.get_by_text("Not offered for the strong attack")).to_be_visible()
    page.get_by_role("link", name="See this as decision regions").click()
    expect(page.get_by_role("heading", name="Decision regions")).to_be_visible()
    expect(
        page.get_by_text("Strong L∞, eps 8/255 = 0.0314, seed 7, victim mixture")
    ).to_be_visible()
    expect(page).to_have_url(re.compile("seed=7"))
    nothing_went_wrong(page)


def test_every_tab(server: str, page: Page) -> None:
    page.goto(f"{server}/lab?ensembles={VANILLA}")
    page.get_by_role("tab", name="Step by step").click()
    line = page.get_by_text(re.compile(r"^Step \d+ of 10:"))
    expect(line).to_have_text(re.compile("^Step 10 of 10:"))
    has_no_violation(page, PANEL)
    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    for step in (9, 8, 7):
        page.keyboard.press("ArrowLeft")
        expect(line).to_have_text(re.compile(f"^Step {step} of 10:"))
    expect(page).to_have_url(re.compile("lab-step=7"))
    page.reload()
    expect(line).to_have_text(re.compile("^Step 7 of 10:"))
    panel = page.get_by_role("tabpanel", name="Step by step")
    downloaded(panel, "PNG", f"{VANILLA}-image-5-step-7.png")
    slider.focus()
    perturbation = page.get_by_role("img", name="Perturbation").last
    before = perturbation.get_attribute("src") or ""
    page.keyboard.press("Home")
    expect(line).to_have_text(re.compile("^Step 0 of 10:"))
    expect(perturbation).not_to_have_attribute("src", before)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(line).to_have_text(re.compile("^Step [1-9] of 10:"))
    expect(line).to_have_text(re.compile("^Step 10 of 10:"))
    expect(page.get_by_role("button", name="Play")).to_be_visible()

    page.get_by_role("tab", name="Who is fooled").click()
    table = page.get_by_role("table").filter(has_text="then says")
    expect(table.get_by_role("row")).to_have_count(6)
    expect(table.get_by_role("rowheader", name="mixture")).to_be_visible()
    has_no_violation(page, PANEL)
    page.get_by_role("tab", name="Smallest eps").click()
    expect(page.get_by_text("upper bound")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("smallest change"))).to_be_visible()
    has_no_violation(page, PANEL)
    page.get_by_role("tab", name="Beside noise").click()
    expect(page.get_by_text(re.compile(r"fools it in \d+ of 100 draws"))).to_be_visible()
    has_no_violation(page, PANEL)

    page.get_by_role("tab", name="Several images").click()
    box = page.get_by_role("textbox", name="Test images")
    expect(box).to_have_value("0-15")
    box.fill("5, 9, 13")
    box.press("Enter")
    expect(page.get_by_text("3 test images, each attacked")).to_be_visible()
    expect(page).to_have_url(re.compile("several=5"))
    has_no_violation(page, PANEL)
    page.get_by_role("button", name="Add the one above").click()
    expect(box).to_have_value("5, 9, 13, 5")

    page.get_by_role("tab", name="Targets").click()
    choose_option(page, "Images of each class", "10")
    page.get_by_role("button", name="Attack every class").click()
    expect(page.get_by_text("targeted attacks reach their target")).to_be_visible()
    settle(page)
    has_no_violation(page, PANEL)
    grid = pd.read_csv(io.BytesIO(downloaded(page, "Grid as CSV")))
    assert len(grid) == 90 and grid["value"].between(0, 100).all()
    nothing_went_wrong(page)

    switch_theme(page, "dark")
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tabpanel", name=tab)).to_be_visible()
        settle(page)
        has_no_violation(page, PANEL, CONTRAST)
