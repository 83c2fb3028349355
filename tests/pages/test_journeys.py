"""What a person does, in a real headless browser against a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from dverge.data import full_data_available

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
NAME = "vanilla-3xconv-s0"
PATIENCE = 90_000  # ms, for a busy machine


def go_to(page: Page, title: str) -> None:
    page.get_by_test_id("stTopNav").get_by_role("link", name=title).click()


def verdict(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_text="fooled")


def choose(page: Page, group: str, option: str) -> None:
    page.get_by_role("radiogroup", name=group).get_by_text(option, exact=True).click()


def test_attack_an_image_and_read_the_verdict(server: str, page: Page) -> None:
    page.goto(server)
    expect(verdict(page)).to_be_visible(timeout=PATIENCE)
    go_to(page, "Attack lab")
    box = page.get_by_role("spinbutton", name="Test image")
    box.fill("9")
    box.press("Enter")
    expect(page.get_by_text("Test image 9, automobile.")).to_be_visible()
    steps = page.get_by_role("spinbutton", name="Steps")
    steps.fill("20")
    page.get_by_role("button", name="Attack", exact=False).last.click()
    expect(page).to_have_url(re.compile("steps=20"))
    expect(verdict(page)).to_have_count(3)  # one ensemble of each method
    expect(verdict(page).first).to_have_text(re.compile(r"\d of 3 submodels fooled.*mixture"))
    expect(page.get_by_role("img", name="Perturbation").first).to_be_visible()


def test_a_link_reproduces_the_view_on_a_fresh_server_visit(server: str, page: Page) -> None:
    page.goto(f"{server}/lab?image=9&attack=FGSM&victim=submodel+2&ensembles={NAME}")
    expect(page.get_by_text("Test image 9, automobile.")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("stTopNav")).to_be_visible()
    before = verdict(page).text_content() or ""
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    record = json.loads(Path(download.value.path()).read_text())
    assert record["victim"] == "member-2"
    assert record["attack"]["steps"] == 1
    assert record["image"] == "test image 9, automobile"
    assert record["checkpoint"]["name"] == NAME and len(record["checkpoint"]["digest"]) == 64
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG", exact=True).click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    page.reload()
    expect(page.get_by_text("Test image 9, automobile.")).to_be_visible(timeout=PATIENCE)
    expect(verdict(page)).to_have_text(before)


def test_the_home_page_links_to_the_attack_it_shows(server: str, page: Page) -> None:
    page.goto(server)
    expect(verdict(page)).to_be_visible(timeout=PATIENCE)
    shown = verdict(page).text_content() or ""
    page.get_by_role("link", name="Open this in the attack lab").click()
    expect(page.get_by_role("spinbutton", name="Test image")).to_be_visible(timeout=PATIENCE)
    expect(verdict(page)).to_have_text(shown)
    expect(page).to_have_url(re.compile("victim=submodel"))


def test_choose_from_the_gallery_with_the_keyboard(server: str, page: Page) -> None:
    page.goto(f"{server}/lab")
    thumbnail = page.get_by_role("button", name=re.compile("^ship, image ")).first
    expect(thumbnail).to_be_visible(timeout=PATIENCE)
    number = re.findall(r"\d+", thumbnail.inner_text() or thumbnail.text_content() or "")[0]
    thumbnail.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Test image {number}, ship.")).to_be_visible()
    expect(page).to_have_url(re.compile(f"image={number}"))


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_train_stop_resume_finish_and_attack(server: str, page: Page) -> None:
    page.goto(f"{server}/train")
    expect(page.get_by_text("New training")).to_be_visible(timeout=PATIENCE)
    choose(page, "Preset", "Quick demo")
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("5", timeout=PATIENCE)
    page.get_by_text("More settings").click()
    images = page.get_by_role("spinbutton", name="Training images")
    images.fill("6000")
    images.press("Enter")
    name = page.get_by_role("textbox", name="Name")
    name.fill("journey")
    name.press("Enter")
    page.get_by_role("button", name="Start training").click()

    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=PATIENCE)
    wait_for_growth(page)
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=PATIENCE)
    wait_for_growth(page)
    page.get_by_role("button", name="Stop").click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible(timeout=PATIENCE)
    stopped_at = epochs_done(page)
    assert 0 < stopped_at < 5
    resume.click()
    expect(resume).to_be_hidden(timeout=PATIENCE)
    assert epochs_done(page) >= stopped_at
    expect(page.get_by_role("button", name="Stop")).to_be_hidden(timeout=4 * PATIENCE)

    expect(page.get_by_text("journey is trained and ready")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Attack it").click()
    expect(page).to_have_url(re.compile("ensembles=journey"))
    expect(page.get_by_text("journey", exact=True).last).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="of 3 submodels")).to_have_count(1)


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_train_dverge_pause_resume_finish_and_attack_beside_vanilla(
    server: str, page: Page
) -> None:
    page.goto(f"{server}/train")
    expect(page.get_by_text("New training")).to_be_visible(timeout=PATIENCE)
    choose(page, "Method", "DVERGE")
    expect(page.get_by_role("combobox", name="Starts from")).to_have_value(NAME, timeout=PATIENCE)
    choose(page, "Preset", "Quick demo")
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("5", timeout=PATIENCE)
    page.get_by_text("More settings").click()
    images = page.get_by_role("spinbutton", name="Training images")
    images.fill("2000")
    images.press("Enter")
    name = page.get_by_role("textbox", name="Name")
    name.fill("driven-apart")
    name.press("Enter")
    page.get_by_role("button", name="Start training").click()

    expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=PATIENCE)
    wait_for_growth(page)
    pause = page.get_by_role("button", name="Pause")
    place = across(pause)
    pause.click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible(timeout=PATIENCE)
    assert across(resume) == place  # from the first moment: a click on it is not missed
    expect(page.get_by_text("which layer each epoch distilled from").first).to_be_visible()
    paused_at = epochs_done(page)
    assert 0 < paused_at < 5
    resume.click()
    expect(resume).to_be_hidden(timeout=PATIENCE)
    assert epochs_done(page) >= paused_at

    news = page.get_by_text("driven-apart is trained and ready")
    expect(news).to_be_visible(timeout=4 * PATIENCE)
    page.get_by_role("link", name=f"Attack it beside {NAME}").click()
    expect(page).to_have_url(re.compile("ensembles=driven-apart"), timeout=PATIENCE)
    verdicts = page.get_by_role("status").filter(has_text="of 3 submodels")
    expect(verdicts).to_have_count(2, timeout=PATIENCE)
    for ensemble in (NAME, "driven-apart"):
        expect(page.get_by_text(ensemble, exact=True).last).to_be_visible()


def across(button: Locator) -> tuple[float, float]:
    """Where a button stands across the page: its left edge and width, in pixels."""
    box = button.bounding_box()
    assert box is not None
    return box["x"], box["width"]


def epochs_done(page: Page) -> float:
    text = page.get_by_text(re.compile(r"epoch [\d.]+ of 5")).first.inner_text()
    return float(re.findall(r"epoch ([\d.]+) of", text)[0])


def wait_for_growth(page: Page) -> None:
    """The epoch and the drawn curve both go on, with nobody touching the page."""
    curve = page.locator("[class*='st-key-run-'] .mark-line path").first
    expect(curve).to_have_attribute("d", re.compile("L"), timeout=PATIENCE)
    drawn, done = curve.get_attribute("d"), epochs_done(page)
    expect(curve).not_to_have_attribute("d", drawn or "", timeout=PATIENCE)
    expect(page.get_by_text(f"epoch {done:.1f} of 5")).to_be_hidden(timeout=PATIENCE)
