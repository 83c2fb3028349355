"""All maps of an ensemble on one sheet: each is there, named, and nothing is cut off."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET

import pytest
from PIL import Image
from torch import Tensor

from dverge.attacks import Norm, pgd
from dverge.charts.region_sheet import region_sheet
from dverge.charts.regions import class_colours, region_picture
from dverge.exploration.regions import Regions, regions
from dverge.models import Ensemble

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def found(ensemble: Ensemble, images: Tensor) -> Regions:
    config = pgd(Norm.LINF, 8 / 255)
    return regions(ensemble, images[:1], 3, config, extent=40 * config.eps, points=21)


def embedded(svg: ET.Element) -> Image.Image:
    (image,) = svg.iter(f"{SVG}image")
    return Image.open(io.BytesIO(base64.b64decode(image.attrib["href"].split(",")[1])))


def test_a_sheet_holds_every_models_map(found: Regions) -> None:
    text = region_sheet(found, "Tom & <Jerry>", ["PGD & co <1>", "second line"])
    sheet = ET.fromstring(text)
    texts = [each.text for each in sheet.iter(f"{SVG}text")]
    assert "Tom & <Jerry>" in texts and sheet.findtext(f"{SVG}title") == "Tom & <Jerry>"
    assert "PGD & co <1>" in texts and "second line" in texts
    kept = found.kept().tolist()
    for i, name in enumerate(("Submodel 1", "Submodel 2", "Submodel 3", "Mixture")):
        assert f"{name} keeps {kept[i]:.0f} %" in texts
    maps = [each for each in sheet.iter(f"{SVG}svg") if each.get("viewBox") and each is not sheet]
    assert len(maps) == 4
    for i, each in enumerate(maps):
        assert embedded(each).tobytes() == region_picture(found, i).tobytes()
    frames = [e for e in sheet.iter(f"{SVG}rect") if e.get("class") == "frame"]
    assert [each.get("stroke-width") for each in frames] == ["1", "1", "1", "3"]
    for name in class_colours(found.classes):
        assert name in texts


def test_the_maps_of_a_sheet_lie_side_by_side_on_it(found: Regions) -> None:
    sheet = ET.fromstring(region_sheet(found, "Title", ["one line"]))
    width, height = (float(sheet.attrib[key]) for key in ("width", "height"))
    right = 0.0
    for group in sheet.iter(f"{SVG}g"):
        drawn = group.find(f"{SVG}svg")
        if drawn is None or not drawn.get("viewBox"):
            continue
        x, y = map(float, group.attrib["transform"][len("translate(") : -1].split())
        assert x >= right and y > 0
        right = x + float(drawn.attrib["width"])
        assert y + float(drawn.attrib["height"]) < height
    assert 0 < right <= width


def test_a_sheet_of_one_model_has_room_for_its_lines(ensemble: Ensemble, images: Tensor) -> None:
    alone = Ensemble([ensemble.members[0]])
    small = regions(alone, images[:1], 3, pgd(Norm.LINF, 8 / 255), extent=0.1, points=3)
    sheet = ET.fromstring(region_sheet(small, "Title", ["one line"]))
    assert float(sheet.attrib["width"]) >= 800
    *_, line = sheet.iter(f"{SVG}text")
    assert line.text == "one line"
    assert 0 < float(line.attrib["y"]) < float(sheet.attrib["height"])
