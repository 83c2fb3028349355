"""Measuring, watching, reading and downloading figures, in a real headless browser."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from dverge import checkpoints
from dverge.charts.tables import result_frame
from dverge.data import Split
from dverge.evaluation.comparison import Standing, claims
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.naming import attack_title
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.evaluation.store import all_results
from dverge.models import Ensemble
from dverge.results import Result, headlines
from tests.pages.conftest import ROOT, choose_option, serve, settle

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
VANILLA, OTHER = "vanilla-3xconv-s0", "driven"
ATTACK = "PGD L∞ 8/255, 50 steps"
PATIENCE = 90_000  # ms, for a busy machine
IMAGES = 150  # of the evaluation that is killed
LONG = 240_000  # ms, for an evaluation on a busy machine


@pytest.fixture(autouse=True, scope="module")
def no_full_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As on a fresh machine, here and in the servers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVERGE_DATA", str(tmp_path_factory.mktemp("nothing")))
        yield


def two_checkpoints(folder: Path) -> Path:
    """The shipped baseline and an ensemble of two of its members, nothing measured."""
    root = folder / "checkpoints"
    unwanted = shutil.ignore_patterns("evaluations")
    shutil.copytree(ROOT / "checkpoints" / VANILLA, root / VANILLA, ignore=unwanted)
    two = Ensemble(list(checkpoints.load(root / VANILLA).members)[1:])
    checkpoints.save(OTHER, two, method="dverge", root=root)
    return root


def made(
    root: Path, protocol: Protocol, images: int, *names: str, count: int | None = None
) -> list[Result]:
    """The rows of so many measurements, or all, made by the library or kept already."""
    config = EvaluationConfig(names or (VANILLA, OTHER), protocol, Split.TEST, images)
    evaluation = Evaluation(config, root=root)
    evaluation.measurements = evaluation.measurements[:count]
    rows = [row for rows in evaluation.run() for row in rows or []]
    assert evaluation.failures == []
    return rows


def untimed(rows: list[Result]) -> list[tuple[str, Result]]:
    return [(row.checkpoint, replace(row, seconds=0.0)) for row in rows]


def summary(page: Page) -> Locator:
    return page.get_by_label(re.compile("^Accuracy under .* against accuracy without attack"))


def card(page: Page) -> Locator:
    return page.locator("[class*='st-key-evaluation-']")


def progress(page: Page) -> int:
    return int(card(page).get_by_role("progressbar").get_attribute("aria-valuenow") or -1)


def nothing_went_wrong(page: Page) -> None:
    for mark in ("stAlertContentError", "stException"):
        expect(page.get_by_test_id(mark)).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)


def measure_in_the_form(page: Page, images: int, protocol: str = "Standard") -> None:
    """Open the form, ask for so many images and press its button."""
    page.locator(".st-key-measure-section summary").click()
    about = page.get_by_text(re.compile(r"^About .* on "))
    expect(about).to_be_visible(timeout=PATIENCE)
    if protocol != "Standard":
        before = about.inner_text()
        choose_option(page, "Protocol", protocol)
        expect(about).not_to_have_text(before, timeout=PATIENCE)
    before = about.inner_text()
    box = page.get_by_role("spinbutton", name="Images")
    box.fill(str(images))
    box.press("Enter")
    expect(about).not_to_have_text(before, timeout=PATIENCE)
    page.get_by_role("button", name="Measure these ensembles").click()


def wait_for_progress(page: Page, beyond: int) -> int:
    """Until the card's bar stands further, with nobody touching the page."""
    bar = card(page).get_by_role("progressbar")
    further = re.compile(rf"^(?!({'|'.join(map(str, range(beyond + 1)))})$)\d+$")
    expect(bar).to_have_attribute("aria-valuenow", further, timeout=LONG)
    return progress(page)


def test_measure_pause_resume_and_read_the_figures(tmp_path: Path, page: Page) -> None:
    root = two_checkpoints(tmp_path)
    with serve(tmp_path) as address:
        page.goto(f"{address}/robustness")
        expect(page.get_by_text("not measured yet on 1,000 test images")).to_be_visible(
            timeout=PATIENCE
        )
        expect(page.get_by_role("button", name="Measure", exact=True)).to_be_visible()
        page.evaluate("window.here = true")
        measure_in_the_form(page, 40)
        expect(card(page)).to_contain_text("standard-test-40", timeout=PATIENCE)
        wait_for_progress(page, beyond=0)
        card(page).get_by_role("button", name="Pause").click()
        resume = card(page).get_by_role("button", name="Resume")
        expect(resume).to_be_visible(timeout=PATIENCE)
        expect(card(page)).to_contain_text("paused")
        paused_at = progress(page)
        assert 0 < paused_at < 100
        settle(page)
        resume.click()
        expect(resume).to_be_hidden(timeout=PATIENCE)
        wait_for_progress(page, beyond=paused_at)
        expect(card(page)).to_have_count(0, timeout=LONG)

        expect(page.get_by_role("combobox", name="Images")).to_have_value("40 test images")
        settle(page)
        expect(summary(page)).to_be_visible(timeout=PATIENCE)
        claim = page.get_by_role("listitem").filter(
            has_text=f"Under {ATTACK}, the mixture of {OTHER}"
        )
        expect(claim).to_be_visible(timeout=PATIENCE)
        said = page.get_by_role("listitem").all_inner_texts()
        nothing_went_wrong(page)
        assert page.evaluate("window.here")  # it is the page of the beginning
    rows = made(root, Protocol.STANDARD, 40)  # as they are kept
    standings = [standing(rows, name) for name in (VANILLA, OTHER)]
    due = claims(standings[0], standings[1:], ATTACK)
    assert said == [text.replace("**", "") for text in due]


def standing(rows: list[Result], name: str) -> Standing:
    mine = [row for row in rows if row.checkpoint == name]
    under = [f for f in mine if attack_title(f.attack, f.parameters) == ATTACK]
    return Standing(
        name,
        {f.model: f for f in headlines(mine) if f.attack == "clean"},
        {f.model: f for f in headlines(under)},
        {f.parameters["victim"]: f for f in under if f.model == "mixture"},
    )


def finished(root: Path) -> list[float]:
    """The seconds that each measurement of the curve took the baseline, of those kept so far."""
    kept = all_results(checkpoints.read(root / VANILLA))
    return [
        figure.seconds
        for each in kept
        if each.protocol is Protocol.CURVE
        for figure in each.results
        if figure.parameters.get("victim") == "worst" and figure.model == "mixture"
    ]


def test_killed_in_the_midst_of_it_and_gone_on_with(tmp_path: Path, page: Page) -> None:
    root = two_checkpoints(tmp_path)
    shutil.rmtree(root / OTHER)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    with serve(tmp_path) as address:
        page.goto(f"{address}/robustness")
        expect(page.get_by_text("not measured yet")).to_be_visible(timeout=PATIENCE)
        measure_in_the_form(page, IMAGES, "Accuracy against eps")
        deadline = time.monotonic() + LONG / 1000
        while len(finished(root)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    kept = finished(root)  # the server was killed, as by kill -9
    assert 2 <= len(kept) < 9
    with serve(tmp_path) as address:
        page.goto(f"{address}/robustness")
        resume = card(page).get_by_role("button", name="Resume")
        expect(resume).to_be_visible(timeout=PATIENCE)
        expect(card(page)).to_contain_text("interrupted")
        nothing_went_wrong(page)
        resume.click()
        expect(card(page)).to_have_count(0, timeout=LONG)
        page.get_by_role("tab", name="Against eps").click()
        curve = page.get_by_label(re.compile("^Accuracy of mixtures and submodels against"))
        expect(curve).to_be_visible(timeout=PATIENCE)
        nothing_went_wrong(page)
    assert finished(root)[: len(kept)] == kept  # not measured again
    assert untimed(made(root, Protocol.CURVE, IMAGES, VANILLA)) == untimed(
        made(other, Protocol.CURVE, IMAGES, VANILLA)
    )


# --- measured already ---


@pytest.fixture(scope="module")
def folder(no_full_data: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints that the library measured on 20 images, by some attacks of each protocol."""
    folder = tmp_path_factory.mktemp("measured")
    root = two_checkpoints(folder)
    made(root, Protocol.STANDARD, 20, count=2)
    made(root, Protocol.CURVE, 20, count=3)
    made(root, Protocol.SANITY, 20, count=3)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serve(folder) as address:
        yield address


def downloaded(page: Page, title: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=title, exact=True).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_the_downloads_hold_the_figures_shown(folder: Path, address: str, page: Page) -> None:
    page.goto(f"{address}/robustness")
    rows = made(folder / "checkpoints", Protocol.STANDARD, 20, count=2)
    shown = [
        row
        for row in rows
        if not row.model.startswith("member-") and row.parameters.get("victim", "worst") == "worst"
    ]
    count = page.get_by_text(f"{len(shown)} figures on 20 test images.")
    expect(count).to_be_visible(timeout=PATIENCE)
    frame = result_frame(shown)
    found = pd.read_csv(io.StringIO(downloaded(page, "CSV")))
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert json.loads(downloaded(page, "JSON")) == [row.to_dict() for row in shown]


def test_a_link_opens_a_tab_with_its_maps(address: str, page: Page) -> None:
    page.goto(f"{address}/robustness?robust-tabs=Transfer")
    for name in (VANILLA, OTHER):
        heat_map = page.get_by_label(f"Transfer of attacks on {name} to {name}", exact=True)
        expect(heat_map).to_be_visible(timeout=PATIENCE)
        expect(heat_map.locator("text").filter(has_text=re.compile(r"^\d+$")).first).to_be_visible()
    expect(page.get_by_role("tab", name="Transfer")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_text("of the attacks carry over.")).to_have_count(2)
    nothing_went_wrong(page)


CONTENTS = {
    "All figures": "figures on 20 test images.",
    "Against eps": "Drag to move, scroll to zoom.",
    "Transfer": "Lower is better for the defence.",
    "Diversity": "The vulnerability diversity metric d of Eq. 2",
    "Sanity": "makes a model look robust",
}


def test_every_tab_opens_without_an_error(address: str, page: Page) -> None:
    page.goto(f"{address}/robustness")
    expect(summary(page)).to_have_count(1, timeout=PATIENCE)  # the one before may fade still
    expect(summary(page)).to_be_visible(timeout=PATIENCE)
    for tab, words in CONTENTS.items():
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_text(words)).to_be_visible(timeout=PATIENCE)
        nothing_went_wrong(page)
