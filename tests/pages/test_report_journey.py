"""Reading the report beside ours, and taking it away, in a real headless browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dverge import checkpoints
from dverge.charts.report_document import headline, report_markdown
from dverge.reproduction.claims import judge_all
from dverge.reproduction.matching import reproduce
from tests.pages.conftest import ROOT, serve
from tests.pages.walk import BROWSER, settle

pytestmark = BROWSER
PATIENCE = 90_000  # ms, for a busy machine
MOST_HEIGHT = 3_100  # pixels: about three screens


def downloaded(page: Page, title: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=title, exact=True).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_read_it_take_it_away_and_train_it_again(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fresh machine, with nothing but the shipped checkpoints."""
    shutil.copytree(ROOT / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setenv("DVERGE_DATA", str(tmp_path / "no-data"))
    reproduction = reproduce(checkpoints.list_all(tmp_path / "checkpoints")[0])
    verdicts = judge_all(reproduction)
    with serve(tmp_path) as address:
        page.goto(address)
        page.get_by_role("link", name="The report").first.click()
        answer = page.get_by_role("heading", name=headline(reproduction))
        expect(answer).to_be_visible(timeout=PATIENCE)
        every_part_is_drawn(page)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("e => e.scrollHeight") <= MOST_HEIGHT

        page.get_by_role("link", name="What holds, and what does not").click()
        expect(page.get_by_role("heading", name="What holds")).to_be_in_viewport()
        part = verdicts[0].findings[0].parts[0]
        detail = page.get_by_text(part.details[0])
        expect(detail).to_be_hidden()
        page.locator(".dv-claims summary").filter(has_text=part.text).click()
        expect(detail).to_be_visible()

        assert downloaded(page, "Markdown") == report_markdown(reproduction, verdicts)
        assert json.loads(downloaded(page, "JSON"))["headline"] == headline(reproduction)
        assert downloaded(page, "CSV").count("printed") == 60
        assert downloaded(page, "LaTeX").count(r"\begin{tabular}") == 4

        page.set_viewport_size({"width": 800, "height": 1000})
        table = page.locator(".dv-scroll").first
        assert table.evaluate("e => e.scrollWidth > e.clientWidth")
        assert main.evaluate("e => e.scrollWidth <= e.clientWidth")  # the page itself does not

        page.get_by_role("button", name="What matters in the tuned recipe").click()
        expect(page.get_by_text("no crops and flips")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Train this again").click()
        expect(page.get_by_text("Training needs all of CIFAR-10.")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("button", name="Queue this training")).to_have_count(0)
        for mark in ("stAlertContentError", "stException"):
            expect(page.get_by_test_id(mark)).to_have_count(0)
        page.get_by_role("link", name="Get CIFAR-10").click()
        expect(page).to_have_url(re.compile(f"{address}/?$"), timeout=PATIENCE)


def every_part_is_drawn(page: Page) -> None:
    """The picture, the tables, six panels of curves and the claims."""
    picture = page.get_by_label("Our figures against those printed in the report")
    expect(picture.locator("svg, canvas").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("row", name=re.compile("^vanilla mixture")).first).to_be_visible()
    for number in (2, 3, 4):
        for quantity in ("Training loss", "Validation loss"):
            chart = page.get_by_label(re.compile(f"^Figure {number}: {quantity} of "))
            expect(chart.locator("svg, canvas").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".dv-claims")).to_be_visible()
    settle(page)
