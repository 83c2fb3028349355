"""Measuring, watching, reading and downloading results, in a real headless browser."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from dverge import checkpoints
from dverge.charts.tables import result_frame
from dverge.data import Split, load
from dverge.evaluation.comparison import Standing, claims
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import Images, ResultFile, all_results, results_under
from dverge.results import Result, headlines
from pages.widgets.robustness.view import FIRST_ATTACK, SUMMARY_PROTOCOLS
from tests.pages.conftest import ROOT, serve
from tests.pages.walk import (
    BROWSER,
    DVERGE,
    VANILLA,
    choose_option,
    downloaded,
    is_accessible,
    nothing_went_wrong,
    settle,
)

pytestmark = BROWSER
LONG = 240_000  # ms, for an evaluation on a busy machine
CONTENTS: dict[str, str | re.Pattern[str]] = {
    "All figures": re.compile(r"\d+ figures on 1,000 test images\."),
    "Against eps": "Drag to move, scroll to zoom.",
    "Classes": "an image counts for the answer to the first adversarial image",
    "AutoAttack": "The interval is that of paired samples.",
    "Black box": "each attacked by PGD and by momentum FGSM",
    "Sanity": "makes a model look robust",
    "Diversity": "lower means fewer shared weaknesses",
    "Transfer": "Lower is better for the defence.",
}


def summary(page: Page) -> Locator:
    return page.get_by_label(re.compile("^Accuracy under .* against accuracy without attack"))


def card(page: Page) -> Locator:
    return page.locator("[class*='st-key-evaluation-']")


def progress(page: Page) -> int:
    return int(card(page).get_by_role("progressbar").get_attribute("aria-valuenow") or -1)


def wait_for_progress(page: Page, beyond: int) -> int:
    """Until the card's bar has moved on, with nobody touching the page."""
    bar = card(page).get_by_role("progressbar")
    further = re.compile(rf"^(?!({'|'.join(map(str, range(beyond + 1)))})$)\d+$")
    expect(bar).to_have_attribute("aria-valuenow", further, timeout=LONG)
    return progress(page)


def measure_in_the_form(page: Page, images: int, protocol: str = "Standard") -> None:
    """Open the form, ask for so many images and press its button."""
    page.locator(".st-key-measure-section summary").click()
    about = page.get_by_text(re.compile(r"^About .* on "))
    expect(about).to_be_visible()
    if protocol != "Standard":
        before = about.inner_text()
        choose_option(page, "Protocol", protocol)
        expect(about).not_to_have_text(before)
    before = about.inner_text()
    box = page.get_by_role("spinbutton", name="Images")
    box.fill(str(images))
    box.press("Enter")
    expect(about).not_to_have_text(before)
    page.get_by_role("button", name="Measure these ensembles").click()


def kept_of(name: str) -> list[ResultFile]:
    return all_results(checkpoints.read(ROOT / "checkpoints" / name))


def made(root: Path, protocol: Protocol, images: int) -> list[Result]:
    """The baseline's results by the library; stored ones are not measured again."""
    config = EvaluationConfig((VANILLA,), protocol, Split.TEST, images)
    evaluation = Evaluation(config, root=root)
    rows = [row for rows in evaluation.run() for row in rows or []]
    assert evaluation.failures == []
    return rows


def read_the_classes(page: Page) -> None:
    """The accuracy by class, and a confusion matrix under attack and without."""
    about = f"Accuracy by class without attack and under {FIRST_ATTACK}"
    expect(page.get_by_label(about, exact=True)).to_be_visible()
    matrix = page.get_by_label(f"Confusion matrix of {VANILLA}", exact=True)
    expect(matrix.locator("text").first).to_be_visible()
    under = matrix.locator("text").all_text_contents()
    page.locator(".st-key-confusion-attacked label").click()
    expect(page.get_by_text(f"{VANILLA}, without attack")).to_be_visible()
    settle(page)
    assert matrix.locator("text").all_text_contents() != under


def test_read_and_download_what_is_measured(server: str, page: Page) -> None:
    page.goto(f"{server}/robustness?robust-ensembles={DVERGE}")
    expect(summary(page)).to_be_visible()
    for tab, content in CONTENTS.items():
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_text(content)).to_be_visible()
        settle(page)
        nothing_went_wrong(page)
        if tab == "Classes":
            read_the_classes(page)
        if tab == "All figures":
            is_accessible(page)
            sample = load(Split.SAMPLE)
            images = Images(Split.TEST, len(sample), sample.digest)
            shown = [
                row
                for name in (VANILLA, DVERGE)
                for protocol in SUMMARY_PROTOCOLS
                for row in headlines(results_under(kept_of(name), protocol, images))
                if not row.model.startswith("member-")
            ]
            expect(page.get_by_text(f"{len(shown)} figures on 1,000 test images.")).to_be_visible()
            frame = pd.read_csv(io.BytesIO(downloaded(page, "CSV", "robustness.csv")))
            order = list(frame.columns[:4])
            pd.testing.assert_frame_equal(
                frame.sort_values(order, ignore_index=True),
                result_frame(shown).sort_values(order, ignore_index=True),
                check_dtype=False,
            )
            kept = json.loads(downloaded(page, "JSON"))
            assert sorted(map(json.dumps, kept)) == sorted(json.dumps(r.to_dict()) for r in shown)
    page.reload()  # the address holds the open tab
    expect(page.get_by_role("tab", name="Transfer")).to_have_attribute("aria-selected", "true")
    for name in (VANILLA, DVERGE):
        heat_map = page.get_by_label(f"Transfer of attacks on {name} to {name}", exact=True)
        expect(heat_map).to_be_visible()
        expect(heat_map.locator("text").filter(has_text=re.compile(r"^\d+$")).first).to_be_visible()
    expect(page.get_by_text("of the attacks carry over.")).to_have_count(2)
    nothing_went_wrong(page)


def test_measure_pause_resume_and_read_the_results(
    server: str, served_folder: Path, page: Page
) -> None:
    page.goto(f"{server}/robustness?robust-ensembles={VANILLA}")
    expect(summary(page)).to_be_visible()
    page.evaluate("window.here = true")
    measure_in_the_form(page, 10)
    expect(card(page)).to_contain_text("standard-test-10")
    wait_for_progress(page, beyond=0)
    card(page).get_by_role("button", name="Pause").click()
    resume = card(page).get_by_role("button", name="Resume")
    expect(resume).to_be_visible()
    expect(card(page)).to_contain_text("paused")
    paused_at = progress(page)
    assert 0 < paused_at < 100
    settle(page)
    resume.click()
    expect(resume).to_be_hidden()
    wait_for_progress(page, beyond=paused_at)
    expect(card(page)).to_have_count(0, timeout=LONG)

    expect(page.get_by_role("combobox", name="Images")).to_have_value("10 test images")
    settle(page)
    expect(summary(page)).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(1)
    sentences = page.get_by_role("listitem").all_text_contents()
    nothing_went_wrong(page)
    assert page.evaluate("window.here")  # the page was never loaded again
    rows = made(served_folder / "checkpoints", Protocol.STANDARD, 10)
    standing = Standing.of(VANILLA, rows, FIRST_ATTACK)
    assert standing is not None
    expected = claims(standing, [], FIRST_ATTACK)
    assert sentences == [text.replace("**", "") for text in expected]


def finished(root: Path) -> list[float]:
    """The seconds that each stored measurement of the curve took the baseline."""
    return [
        row.seconds
        for file in all_results(checkpoints.read(root / VANILLA))
        if file.protocol is Protocol.CURVE
        for row in file.results
        if row.parameters.get("victim") == "worst" and row.model == "mixture"
    ]


@pytest.mark.slow
def test_an_evaluation_survives_the_servers_death(tmp_path: Path, page: Page) -> None:
    images, root, other = 150, tmp_path / "checkpoints", tmp_path / "other"
    unwanted = shutil.ignore_patterns("evaluations")
    for folder in (root, other):
        shutil.copytree(ROOT / "checkpoints" / VANILLA, folder / VANILLA, ignore=unwanted)
    with serve(tmp_path) as address:
        page.goto(f"{address}/robustness")
        expect(page.get_by_text("not measured yet")).to_be_visible()
        measure_in_the_form(page, images, "Accuracy against eps")
        deadline = time.monotonic() + LONG / 1000
        while len(finished(root)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    stored = finished(root)  # the server was killed, as by kill -9
    assert 2 <= len(stored) < 9
    with serve(tmp_path) as address:
        page.goto(f"{address}/robustness")
        resume = card(page).get_by_role("button", name="Resume")
        expect(resume).to_be_visible()
        expect(card(page)).to_contain_text("interrupted")
        nothing_went_wrong(page)
        resume.click()
        expect(card(page)).to_have_count(0, timeout=LONG)
        page.get_by_role("tab", name="Against eps").click()
        curve = page.get_by_label(re.compile("^Accuracy of mixtures and submodels against"))
        expect(curve).to_be_visible()
        nothing_went_wrong(page)
    assert finished(root)[: len(stored)] == stored  # not measured again

    def untimed(root: Path) -> list[Result]:
        return [replace(row, seconds=0.0, device="") for row in made(root, Protocol.CURVE, images)]

    assert untimed(root) == untimed(other)
