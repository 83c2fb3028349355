"""Reading the report beside ours, and taking it away, in a real headless browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dverge import checkpoints
from dverge.charts.report_document import all_statements, report_markdown
from dverge.reproduction.figures import reproduce_figures
from dverge.reproduction.reproduction import Reproduction, reproduce
from dverge.reproduction.statements import Statement
from tests.pages.conftest import ROOT, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE = 90_000  # ms, for a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shipped checkpoints, and nothing else, as on a fresh machine."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(ROOT / "checkpoints", folder / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVERGE_DATA", str(folder / "no-data"))
        yield folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serve(folder) as address:
        yield address


@pytest.fixture(scope="module")
def found(folder: Path) -> Reproduction:
    return reproduce(checkpoints.list_all(folder / "checkpoints")[0])


@pytest.fixture(scope="module")
def document(folder: Path, found: Reproduction) -> tuple[str, list[Statement]]:
    figures = reproduce_figures(checkpoints.list_all(folder / "checkpoints")[0])
    statements = all_statements(found, figures)
    return report_markdown(found, figures, statements), statements


def nothing_went_wrong(page: Page) -> None:
    for mark in ("stAlertContentError", "stException"):
        expect(page.get_by_test_id(mark)).to_have_count(0)


def downloaded(page: Page, title: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=title, exact=True).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_read_it_from_the_answer_to_what_holds(
    address: str, found: Reproduction, document: tuple[str, list[Statement]], page: Page
) -> None:
    page.goto(address)
    page.get_by_role("link", name="The report").first.click()
    expect(page.get_by_role("heading", name=found.headline)).to_be_visible(timeout=PATIENCE)
    picture = page.get_by_label("Our figures against those printed in the report")
    expect(picture.locator("svg, canvas").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("table.dv-report").nth(3)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("row", name=re.compile("^vanilla mixture")).first).to_be_visible()
    for number in (2, 3, 4):
        for quantity in ("Training loss", "Validation loss"):
            chart = page.get_by_label(re.compile(f"^Figure {number}: {quantity} of "))
            expect(chart.locator("svg, canvas").first).to_be_visible(timeout=PATIENCE)
    statement = document[1][0]
    article = page.locator("article").filter(has_text=statement.text).last
    expect(article).to_contain_text(statement.findings[0].words)
    behind = article.locator("li").first
    expect(behind).to_be_hidden()
    article.locator("summary").click()
    expect(behind).to_be_visible()
    nothing_went_wrong(page)


def test_the_downloads_are_what_is_shown(
    address: str, found: Reproduction, document: tuple[str, list[Statement]], page: Page
) -> None:
    page.goto(f"{address}/report")
    expect(page.get_by_role("heading", name=found.headline)).to_be_visible(timeout=PATIENCE)
    assert downloaded(page, "Markdown") == document[0]
    assert json.loads(downloaded(page, "JSON"))["headline"] == found.headline
    assert downloaded(page, "CSV").count("printed") == 60
    assert downloaded(page, "LaTeX").count(r"\begin{tabular}") == 4


def test_training_again_needs_the_full_data_and_says_so(
    address: str, found: Reproduction, page: Page
) -> None:
    page.goto(f"{address}/report")
    expect(page.get_by_role("heading", name=found.headline)).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Train this again").first.click()
    expect(page.get_by_text("Training needs all of CIFAR-10.")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Queue this training")).to_have_count(0)
    page.get_by_role("link", name="Get CIFAR-10").click()
    expect(page).to_have_url(re.compile(f"{address}/?$"), timeout=PATIENCE)
    nothing_went_wrong(page)


def test_on_a_narrow_screen_tables_scroll_and_the_page_does_not(
    address: str, found: Reproduction, page: Page
) -> None:
    page.set_viewport_size({"width": 800, "height": 1000})
    page.goto(f"{address}/report")
    expect(page.get_by_role("heading", name=found.headline)).to_be_visible(timeout=PATIENCE)
    table = page.locator(".dv-scroll").first
    expect(table).to_be_visible(timeout=PATIENCE)
    inner, outer = table.evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert inner > outer
    main = page.get_by_test_id("stMain")
    inner, outer = main.evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert inner <= outer
