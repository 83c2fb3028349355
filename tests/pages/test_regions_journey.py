"""Decision regions in a real headless browser against a real server."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from dverge.data import CLASSES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE = 90_000  # ms, for a busy machine
NAMES = ("vanilla-3xconv-s0", "dverge-3xconv-s0")
MODELS = ("submodel 1", "submodel 2", "submodel 3", "mixture")
# Whether a map is painted: the centre of its picture is no ground, which is white.
PAINTED = """image => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 100;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, 100, 100);
    return [30, 60, 85].map(x => [...pen.getImageData(x, 20, 1, 1).data]);
}"""


def maps(page: Page, names: Sequence[str] = NAMES) -> list[Locator]:
    return [
        page.get_by_role("img", name=re.compile(f"^Decision regions of {model} of {name}:"))
        for name in names
        for model in MODELS
    ]


def sources(figures: list[Locator]) -> list[str]:
    return [figure.get_attribute("src") or "" for figure in figures]


def all_change(page: Page, do: Callable[[], None]) -> None:
    """Do something that changes every map; wait until they all have, and nothing has moved."""
    before, place = sources(maps(page)), [figure.bounding_box() for figure in maps(page)]
    do()
    for figure, old in zip(maps(page), before, strict=True):
        expect(figure).not_to_have_attribute("src", old, timeout=PATIENCE)
    assert [figure.bounding_box() for figure in maps(page)] == place


def number(page: Page, name: str, value: str) -> None:
    box = page.get_by_role("spinbutton", name=name)
    box.fill(value)
    box.press("Enter")


def saved(page: Page, kind: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    assert download.value.suggested_filename == f"{NAMES[0]}-image-9-regions.{kind.lower()}"
    return Path(download.value.path()).read_text()


def no_errors(page: Page) -> None:
    for mark in ("stAlertContentError", "stException"):
        expect(page.get_by_test_id(mark)).to_have_count(0)


def test_see_every_models_regions_and_change_image_reach_and_plane(server: str, page: Page) -> None:
    page.goto(f"{server}/regions?ensembles={NAMES[0]}&ensembles={NAMES[1]}")
    for figure in maps(page):
        expect(figure).to_be_visible(timeout=PATIENCE)
        expect(figure).to_have_js_property("complete", True)
        for *colour, _ in figure.evaluate(PAINTED):
            assert max(colour) - min(colour) > 10  # the colour of a class, none of them grey
    expect(page.get_by_text("Within eps on this plane")).to_have_count(2)
    expect(page.locator(".dv-legend")).to_contain_text("frog (true class)")

    all_change(page, lambda: number(page, "Test image", "9"))
    expect(page.get_by_text("the true class automobile is kept")).to_have_count(2)
    expect(page.locator(".dv-legend")).to_contain_text("automobile (true class)")

    def farther() -> None:
        page.get_by_role("slider", name="Reach").focus()
        page.keyboard.press("ArrowRight")

    all_change(page, farther)
    expect(page).to_have_url(re.compile("extent=5"))

    second = sources(maps(page)[4:])
    page.get_by_role("radiogroup", name="Plane").get_by_text("Of the first", exact=True).click()
    for figure, old in zip(maps(page)[4:], second, strict=True):
        expect(figure).not_to_have_attribute("src", old, timeout=PATIENCE)
    expect(page.get_by_text(f"attack on {NAMES[0]}, not on this ensemble")).to_be_visible()
    no_errors(page)


def test_keep_the_maps_as_files(server: str, page: Page) -> None:
    page.goto(f"{server}/regions?image=9&ensembles={NAMES[0]}&direction=3")
    figures = maps(page, NAMES[:1])
    for figure in figures:
        expect(figure).to_be_visible(timeout=PATIENCE)
    shown = [base64.b64decode(each.split(",")[1]).decode() for each in sources(figures)]

    sheet = saved(page, "SVG")
    assert all(svg in sheet for svg in shown)
    texts = [each.text or "" for each in ET.fromstring(sheet).iter() if each.tag.endswith("text")]
    assert f"Decision regions of {NAMES[0]}: test image 9, automobile" in texts
    attack = f"PGD L∞ 8/255, 10 steps, gradient of the mixture of {NAMES[0]}"
    assert any(attack in text for text in texts)

    record = json.loads(saved(page, "JSON"))
    assert record["image"] == "test image 9, automobile" and record["direction_seed"] == 3
    assert record["checkpoint"]["name"] == NAMES[0] and len(record["checkpoint"]["digest"]) == 64
    assert [each["model"] for each in record["models"]] == list(MODELS)

    lines = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
    assert len(lines) == 4 * 61 * 61
    for i in (0, 61 * 61 + 700, len(lines) - 1):
        model, rest = divmod(i, 61 * 61)
        row, column = divmod(rest, 61)
        assert lines[i]["class"] == record["models"][model]["class"][row][column]
        assert lines[i]["class"] in CLASSES and 0.1 <= float(lines[i]["confidence"]) <= 1

    page.get_by_role("button", name="In figures").click()
    expect(page.get_by_role("cell", name="automobile").first).to_be_visible()
    no_errors(page)


def test_go_on_with_the_same_attack_in_the_lab(server: str, page: Page) -> None:
    page.goto(f"{server}/regions?image=9&ensembles={NAMES[1]}&attack=PGD+L2&victim=submodel+2")
    expect(maps(page)[4]).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Open this in the attack lab").click()
    expect(page.get_by_role("heading", name="Attack lab")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("spinbutton", name="Test image")).to_have_value("9", timeout=PATIENCE)
    expect(page.get_by_text("eps (L2 length, pixels in 0–1)")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("status").filter(has_text="of 3 submodels")).to_have_count(1)
    expect(page.get_by_text(NAMES[1], exact=True).last).to_be_visible()
    expect(page).to_have_url(re.compile("victim=submodel"))
