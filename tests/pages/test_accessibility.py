"""No page has a serious fault that axe-core finds, in a real browser, on light and dark ground."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.pages.conftest import settle

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE = 90_000  # ms, for a busy machine
PAGES = {  # what each page ends with, so that all of it is there
    "": "Computed now",
    "tour": "computed now",
    "tour?tour-step=4": "carry over",
    "tour?tour-step=5": "Distilled from",
    "tour?tour-step=7": "All figures",
    "lab": "One image is no rate",
    "lab?lab-tab=Step+by+step": "Thick: the mixture",
    "lab?lab-tab=Who+is+fooled": "Each row is an attack",
    "lab?lab-tab=Smallest+eps": "upper bound",
    "lab?lab-tab=Beside+noise": "Fooled by noise",
    "lab?lab-tab=Several+images": "chosen by hand",
    "lab?lab-tab=Targets": "nine other classes",
    "distilled": "Choose an image",
    "regions": "Choose an image",
    "robustness": "Measure",
    "report": "What holds",
    "train": "New training",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", PAGES)
def test_no_serious_violation(server: str, page: Page, address: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{server}/{address}")
    expect(page.get_by_text(PAGES[address]).first).to_be_visible(timeout=PATIENCE)
    settle(page)
    page.wait_for_timeout(1000)  # for what fades in
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    told = [
        f"{each['id']}: {node['html'][:200]} ({node['failureSummary'][:200]})"
        for each in serious
        for node in each["nodes"]
    ]
    assert told == []
