"""Decision regions as a person uses them, in a real headless browser."""

from __future__ import annotations

import base64
import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

from playwright.sync_api import Locator, Page, expect

from dverge.data import CLASSES
from tests.pages.walk import (
    BROWSER,
    DVERGE,
    VANILLA,
    choose,
    downloaded,
    downloaded_json,
    enter,
    is_accessible,
    nothing_went_wrong,
)

pytestmark = BROWSER
MODELS = ("submodel 1", "submodel 2", "submodel 3", "mixture")
# Three points of a map's picture, drawn on a canvas.
PAINTED = """image => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 100;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, 100, 100);
    return [30, 60, 85].map(x => [...pen.getImageData(x, 20, 1, 1).data]);
}"""


def maps(page: Page, names: Sequence[str] = (VANILLA, DVERGE)) -> list[Locator]:
    return [
        page.get_by_role("img", name=re.compile(f"^Decision regions of {model} of {name}:"))
        for name in names
        for model in MODELS
    ]


def sources(figures: list[Locator]) -> list[str]:
    return [figure.get_attribute("src") or "" for figure in figures]


def all_change(page: Page, act: Callable[[], None]) -> None:
    """Do something that changes every map; wait until they all have, and none has moved."""
    before, places = sources(maps(page)), [figure.bounding_box() for figure in maps(page)]
    act()
    for figure, old in zip(maps(page), before, strict=True):
        expect(figure).not_to_have_attribute("src", old)
    assert [figure.bounding_box() for figure in maps(page)] == places


def test_change_image_reach_and_plane(server: str, page: Page) -> None:
    page.goto(f"{server}/regions?ensembles={VANILLA}&ensembles={DVERGE}")
    for figure in maps(page):
        expect(figure).to_be_visible()
        expect(figure).to_have_js_property("complete", True)
        for *colour, _ in figure.evaluate(PAINTED):
            assert max(colour) - min(colour) > 10  # a class's colour, not the grey or white ground
    expect(page.get_by_text("Within eps on this plane")).to_have_count(2)
    expect(page.locator(".dv-legend")).to_contain_text("frog (true class)")
    expect(page.get_by_role("heading", name="Choose an image")).to_be_visible()
    is_accessible(page)

    all_change(page, lambda: enter(page, "Test image", 9))
    expect(page.get_by_text("the true class automobile is kept")).to_have_count(2)
    expect(page.locator(".dv-legend")).to_contain_text("automobile (true class)")

    def reach_further() -> None:
        page.get_by_role("slider", name="Reach").focus()
        page.keyboard.press("ArrowRight")

    all_change(page, reach_further)
    expect(page).to_have_url(re.compile("extent=5"))

    second = sources(maps(page)[4:])
    choose(page, "Plane", "Of the first")
    for figure, old in zip(maps(page)[4:], second, strict=True):
        expect(figure).not_to_have_attribute("src", old)
    expect(page.get_by_text(f"attack on {VANILLA}, not on this ensemble")).to_be_visible()
    nothing_went_wrong(page)


def test_take_the_maps_away_and_go_on_in_the_lab(server: str, page: Page) -> None:
    page.goto(f"{server}/regions?image=9&ensembles={VANILLA}&direction=3")
    figures = maps(page, [VANILLA])
    for figure in figures:
        expect(figure).to_be_visible()
    shown = [base64.b64decode(each.split(",")[1]).decode() for each in sources(figures)]
    stem = f"{VANILLA}-image-9-regions"

    sheet = downloaded(page, "SVG", f"{stem}.svg").decode()
    assert all(svg in sheet for svg in shown)
    texts = [each.text or "" for each in ET.fromstring(sheet).iter() if each.tag.endswith("text")]
    assert f"Decision regions of {VANILLA}: test image 9, automobile" in texts
    attack = f"PGD L∞, eps 8/255 = 0.0314, 10 steps, victim mixture, on {VANILLA}"
    assert any(attack in text for text in texts)

    record = downloaded_json(page)
    assert record["image"] == "test image 9, automobile" and record["direction_seed"] == 3
    assert record["checkpoint"]["name"] == VANILLA and len(record["checkpoint"]["digest"]) == 64
    assert [each["model"] for each in record["models"]] == list(MODELS)

    table = downloaded(page, "CSV", f"{stem}.csv").decode()
    lines = list(csv.DictReader(io.StringIO(table)))
    assert len(lines) == 4 * 61 * 61
    for i in (0, 61 * 61 + 700, len(lines) - 1):
        model, rest = divmod(i, 61 * 61)
        row, column = divmod(rest, 61)
        assert lines[i]["class"] == record["models"][model]["class"][row][column]
        assert lines[i]["class"] in CLASSES and 0.1 <= float(lines[i]["confidence"]) <= 1

    page.get_by_role("button", name="In figures").click()
    expect(page.get_by_role("cell", name="automobile").first).to_be_visible()
    nothing_went_wrong(page)

    page.goto(f"{server}/regions?image=9&ensembles={DVERGE}&attack=PGD+L2&victim=submodel+2")
    expect(maps(page, [DVERGE])[0]).to_be_visible()
    page.get_by_role("link", name="Open this in the attack lab").click()
    expect(page.get_by_role("heading", name="Attack lab")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Test image")).to_have_value("9")
    expect(page.get_by_text("eps (L2 length, pixels in 0–1)")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="of 3 submodels")).to_have_count(1)
    expect(page.get_by_text(DVERGE, exact=True).last).to_be_visible()
    expect(page).to_have_url(re.compile("victim=submodel"))
