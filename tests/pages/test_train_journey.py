"""Training as a person does it, in a real headless browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from dverge.data import full_data_available
from tests.pages.walk import BROWSER, VANILLA, choose, is_accessible, nothing_went_wrong

pytestmark = [
    *BROWSER,
    pytest.mark.full_data,
    pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10"),
]
LONG = 360_000  # ms, for a training on a busy machine


def start(page: Page, name: str, images: int) -> None:
    """Start the chosen method's quick demo on so many images."""
    choose(page, "Preset", "Quick demo")
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("5")
    page.get_by_text("More settings").click()
    for role, box, value in (
        ("spinbutton", "Training images", str(images)),
        ("textbox", "Name", name),
    ):
        field = page.get_by_role(role, name=box)  # type: ignore[arg-type]
        field.fill(value)
        field.press("Enter")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    wait_for_growth(page)


def epochs_done(page: Page) -> float:
    text = page.get_by_text(re.compile(r"epoch [\d.]+ of 5")).first.inner_text()
    return float(re.findall(r"epoch ([\d.]+) of", text)[0])


def wait_for_growth(page: Page) -> None:
    """The epoch and the drawn curve both go on, with nobody touching the page."""
    curve = page.locator("[class*='st-key-run-'] .mark-line path").first
    expect(curve).to_have_attribute("d", re.compile("L"))
    drawn, done = curve.get_attribute("d") or "", epochs_done(page)
    expect(curve).not_to_have_attribute("d", drawn)
    expect(page.get_by_text(f"epoch {done:.1f} of 5")).to_be_hidden()


def across(button: Locator) -> tuple[float, float]:
    """A button's left edge and width, in pixels."""
    box = button.bounding_box()
    assert box is not None
    return box["x"], box["width"]


def test_train_dverge_pause_resume_finish_and_attack_beside_vanilla(
    server: str, page: Page
) -> None:
    page.goto(f"{server}/train")
    expect(page.get_by_text("New training")).to_be_visible()
    is_accessible(page)
    choose(page, "Method", "DVERGE")
    expect(page.get_by_role("combobox", name="Starts from")).to_have_value(VANILLA)
    start(page, "driven-apart", images=1200)

    pause = page.get_by_role("button", name="Pause")
    place = across(pause)
    pause.click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible()
    assert across(resume) == place  # from the first moment: a click on it is not missed
    expect(page.get_by_text("which layer each epoch distilled from").first).to_be_visible()
    paused_at = epochs_done(page)
    assert 0 < paused_at < 5
    resume.click()
    expect(resume).to_be_hidden()
    assert epochs_done(page) >= paused_at

    expect(page.get_by_text("driven-apart is trained and ready")).to_be_visible(timeout=LONG)
    nothing_went_wrong(page)
    page.get_by_role("link", name=f"Attack it beside {VANILLA}").click()
    expect(page).to_have_url(re.compile("ensembles=driven-apart"))
    verdicts = page.get_by_role("status").filter(has_text="of 3 submodels")
    expect(verdicts).to_have_count(2)
    for ensemble in (VANILLA, "driven-apart"):
        expect(page.get_by_text(ensemble, exact=True).last).to_be_visible()


@pytest.mark.slow
def test_train_vanilla_reload_stop_resume_finish_and_attack(server: str, page: Page) -> None:
    page.goto(f"{server}/train")
    expect(page.get_by_text("New training")).to_be_visible()
    start(page, "journey", images=6000)
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    wait_for_growth(page)
    page.get_by_role("button", name="Stop").click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible()
    stopped_at = epochs_done(page)
    assert 0 < stopped_at < 5
    resume.click()
    expect(resume).to_be_hidden()
    assert epochs_done(page) >= stopped_at
    expect(page.get_by_role("button", name="Stop")).to_be_hidden(timeout=LONG)

    expect(page.get_by_text("journey is trained and ready")).to_be_visible()
    page.get_by_role("link", name="Attack it").click()
    expect(page).to_have_url(re.compile("ensembles=journey"))
    expect(page.get_by_text("journey", exact=True).last).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="of 3 submodels")).to_have_count(1)
