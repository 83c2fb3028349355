"""Maps of decision regions: the SVG is taken apart and compared with the regions."""

from __future__ import annotations

import base64
import io
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from dverge.attacks import MIXTURE, AttackConfig, Norm, all_probabilities, attack, pgd
from dverge.charts.regions import (
    CLASS_COLOURS,
    LEFT,
    PALEST,
    SIDE,
    TOP,
    class_colours,
    region_picture,
    region_sheet,
    region_svg,
    ticks,
)
from dverge.data import CLASSES
from dverge.exploration.regions import Regions, regions, regions_on
from dverge.models import Ensemble

SVG = "{http://www.w3.org/2000/svg}"
GROUND = {False: (255, 255, 255), True: (15, 20, 25)}


@pytest.fixture(
    scope="module", params=[pgd(Norm.LINF, 8 / 255), pgd(Norm.L2, 1.0)], ids=["linf", "l2"]
)
def result(request: pytest.FixtureRequest, ensemble: Ensemble, images: Tensor) -> Regions:
    extent = 40 * request.param.eps
    return regions(ensemble, images[:1], 3, request.param, extent=extent, points=41, seed=7)


@pytest.fixture(scope="module")
def near(result: Regions, ensemble: Ensemble) -> Regions:
    """A square so small that the attack's end is one of its points: the 10th from the middle."""
    extent = 2 * result.plane.path[-1, 0].item()
    return regions_on(result.plane, ensemble, 3, extent=extent, points=41)


@pytest.fixture(scope="module")
def svg(result: Regions) -> ET.Element:
    return ET.fromstring(region_svg(result, 0))


@pytest.fixture(scope="module")
def sheet(result: Regions) -> ET.Element:
    return ET.fromstring(region_sheet(result, "Tom & <Jerry>", ["PGD & co <1>", "second line"]))


def unit(result: Regions) -> int:
    return 255 if result.plane.config.norm is Norm.LINF else 1


def colour(label: int, confidence: float, dark: bool) -> tuple[float, ...]:
    """By the formula, one channel at a time."""
    full = [int(CLASS_COLOURS[label][i : i + 2], 16) for i in (1, 3, 5)]
    share = PALEST + (1 - PALEST) * confidence
    return tuple(g + share * (f - g) for g, f in zip(GROUND[dark], full, strict=True))


def embedded(svg: ET.Element) -> Image.Image:
    (image,) = svg.iter(f"{SVG}image")
    kind, data = image.attrib["href"].split(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def pixel(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = picture.getpixel((x, y))
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


def marked(svg: ET.Element, name: str) -> ET.Element:
    (one,) = [each for each in svg.iter() if each.get("class") == name]
    return one


def names_of(result: Regions, model: int = 0) -> dict[str, tuple[float, float]]:
    """The centre of each name on a map, in px from the square's corner."""
    names = marked(ET.fromstring(region_svg(result, model)), "names")
    return {t.text or "": (float(t.attrib["x"]), float(t.attrib["y"]) - 4) for t in names}


def corners(path: ET.Element) -> list[list[float]]:
    """The corners of a path of straight lines."""
    return [[float(v) for v in point.split()] for point in path.attrib["d"].strip("M").split("L")]


def place(result: Regions, a: float, b: float) -> list[float]:
    """Where coordinates lie in the square, by the pixels' centres: two of them and a line."""
    side, step = SIDE / 41, (result.axis[1] - result.axis[0]).item()
    return [(20.5 + a / step) * side, (20.5 - b / step) * side]


@pytest.mark.parametrize("dark", [False, True])
def test_every_pixel_is_the_colour_of_its_points_class_and_confidence(
    result: Regions, dark: bool
) -> None:
    for model in (0, -1):
        picture = embedded(ET.fromstring(region_svg(result, model, dark=dark)))
        assert picture.size == (41, 41)
        for i in range(41):
            for j in range(41):
                label = int(result.classes[model, i, j])
                expected = colour(label, result.confidence[model, i, j].item(), dark)
                channels = zip(pixel(picture, j, 40 - i), expected, strict=True)
                assert all(abs(shown - wanted) < 0.51 for shown, wanted in channels)
    assert len(result.classes[0].unique()) > 1


def test_confidence_is_not_rounded(result: Regions) -> None:
    confidence = torch.linspace(0.1, 1, 41 * 41).view(1, 41, 41).expand(4, 41, 41)
    classes = torch.full_like(result.classes, 1)
    blue = region_picture(replace(result, confidence=confidence, classes=classes), 0)
    assert len({pixel(blue, x, y) for x in range(41) for y in range(41)}) > 100


def test_the_middle_and_the_attacks_end_are_the_models_predictions(
    near: Regions, ensemble: Ensemble
) -> None:
    image, config = near.plane.origin, near.plane.config
    assert isinstance(config, AttackConfig)
    end = attack(ensemble, image, torch.tensor([3]), config, MIXTURE).images
    ends = [all_probabilities(ensemble, each)[:, 0] for each in (image, end)]
    for model in range(4):
        svg = ET.fromstring(region_svg(near, model))
        picture, cross = embedded(svg), marked(svg, "cross").attrib["d"]
        x, y = (float(value) for value in cross[1 : cross.index("l")].split())
        at = [int((v + 4) / SIDE * 41) for v in (x, y)]  # the pixel under the cross's middle
        assert at == [30, 20]
        for probabilities, spot in zip(ends, ([20, 20], at), strict=True):
            label = int(probabilities[model].argmax())
            expected = colour(label, probabilities[model, label].item(), False)
            assert pixel(picture, *spot) == pytest.approx(expected, abs=0.6)


def test_the_picture_fills_the_square_without_smoothing(svg: ET.Element) -> None:
    (image,) = svg.iter(f"{SVG}image")
    assert image.get("preserveAspectRatio") == "none"
    assert "image-rendering:pixelated" in image.attrib["style"]
    inner = next(each for each in svg.iter(f"{SVG}svg") if each is not svg)
    for each in (image, inner):  # the inner one cuts off what is outside
        assert (each.get("width"), each.get("height")) == (str(SIDE), str(SIDE))
        assert (each.get("x", "0"), each.get("y", "0")) == ("0", "0")
    (group,) = svg
    assert group.get("transform") == f"translate({LEFT} {TOP})"


def test_ball_path_and_ends_lie_by_the_formula(near: Regions) -> None:
    svg = ET.fromstring(region_svg(near, 0))
    eps = near.plane.config.eps
    ball, path = marked(svg, "ball"), marked(svg, "path")
    edge = corners(ball)
    assert edge[0] == pytest.approx(place(near, eps, 0), abs=0.06)
    step = (near.axis[1] - near.axis[0]).item()
    for x, y in edge[::15]:
        a, b = (x * 41 / SIDE - 20.5) * step, (20.5 - y * 41 / SIDE) * step
        size = near.plane.distance(torch.tensor([a]), torch.tensor([b])).item()
        assert size == pytest.approx(eps, rel=0.01)
    expected = [place(near, a, b) for a, b in near.plane.path.tolist()]
    assert corners(path) == [pytest.approx(each, abs=0.06) for each in expected]
    assert ball.get("stroke-dasharray") and not path.get("stroke-dasharray")
    (dot,) = svg.iter(f"{SVG}circle")
    assert [float(dot.attrib[key]) for key in ("cx", "cy")] == [SIDE / 2, SIDE / 2]
    corner, strokes = marked(svg, "cross").attrib["d"].strip("M").split("l", 1)
    middle = [float(value) + 4 for value in corner.split()]
    assert middle == pytest.approx(expected[-1], abs=0.06)
    assert strokes == "8 8m-8 0l8-8"


def test_lines_and_names_have_a_halo(svg: ET.Element) -> None:
    for name in ("ball", "path", "cross"):
        line = marked(svg, name)
        twins = [each for each in svg.iter(f"{SVG}path") if each.get("d") == line.get("d")]
        (halo,) = [each for each in twins if each is not line]
        assert halo.get("stroke") == "#FFFFFF"
        assert float(halo.attrib["stroke-width"]) > float(line.attrib["stroke-width"])


def test_axes_are_in_the_attacks_unit(result: Regions, svg: ET.Element) -> None:
    texts = [(each.text or "", each) for each in svg.iter(f"{SVG}text")]
    length = "largest change of a pixel, /255" if unit(result) == 255 else "L2 length"
    for title in ("along the attack", f"({length})", "random, orthogonal (seed 7)"):
        assert title in dict(texts)
    numbers = {
        int(text.replace("−", "-")): float(each.attrib["x"])
        for text, each in texts
        if each.get("text-anchor") == "middle" and text.strip("−").isdigit()
    }
    reach = round(40 * unit(result) * result.plane.config.eps)
    expected = {320: range(-300, 301, 100), 40: range(-40, 41, 20)}[reach]
    assert sorted(numbers) == list(expected)
    marks = marked(svg, "ticks").attrib["d"]
    for number, left in numbers.items():
        x, y = place(result, number / unit(result), number / unit(result))
        assert left == pytest.approx(x, abs=0.06)
        assert f"M{x:.1f} {SIDE + 2}v4" in marks and f"M-2 {y:.1f}h-4" in marks


@pytest.mark.parametrize(
    ("reach", "step"),
    [(24.4, 10), (8.13, 5), (65, 20), (2.5, 1), (0.51, 0.2), (0.0163, 0.005), (1020, 500)],
)
def test_ticks_are_round_numbers_about_five(reach: float, step: float) -> None:
    last = math.floor(reach / step)
    assert ticks(reach) == pytest.approx([i * step for i in range(-last, last + 1)])
    assert 3 <= len(ticks(reach)) <= 9


def test_larger_regions_have_their_names_inside_them(result: Regions) -> None:
    for model in range(4):
        names = names_of(result, model)
        for name, (x, y) in names.items():
            row, half = 40 - int(y / SIDE * 41), 4 * len(name) + 2
            assert half - 0.1 <= x <= SIDE - half + 0.1  # the whole name is on the map
            classes, column = result.classes[model, row], int(x / SIDE * 41)
            moved = x in (half, SIDE - half)  # to be on the map
            assert CLASSES.index(name) in (classes if moved else classes[[column]]).tolist()
        assert CLASSES[int(result.classes[model].flatten().mode().values)] in names


def test_small_regions_have_no_name(result: Regions) -> None:
    classes = torch.full_like(result.classes, 8)
    classes[:, 3:6, 3:6] = 0
    assert list(names_of(replace(result, classes=classes))) == ["ship"]


def test_names_are_in_the_widest_part_of_their_region_away_from_the_path(result: Regions) -> None:
    classes = torch.full_like(result.classes, 8)
    classes[:, 10:31, 10:35] = 3  # a rectangle around the path, deepest on the path itself
    x, y = names_of(replace(result, classes=classes))["cat"]
    row, column = 40 - int(y / SIDE * 41), int(x / SIDE * 41)
    assert classes[0, row, column] == 3
    a, b = result.axis[column] / result.extent, result.axis[row].abs() / result.extent
    assert b > 1 / 12 or a < -1 / 6


def test_names_among_many_points(result: Regions) -> None:
    axis = torch.linspace(-result.extent, result.extent, 301, dtype=torch.float64)
    classes = torch.zeros(4, 301, 301, dtype=torch.int64)
    classes[:, :, 150:] = 9
    fine = replace(result, axis=axis, classes=classes, confidence=torch.ones(4, 301, 301))
    names = names_of(fine)
    assert set(names) == {"airplane", "truck"}
    assert names["airplane"][0] < SIDE / 2 < names["truck"][0]


def test_the_marked_map_differs_by_its_frame(result: Regions) -> None:
    widths = []
    for thick in (False, True):
        frame = marked(ET.fromstring(region_svg(result, 0, thick)), "frame")
        width = float(frame.attrib["stroke-width"])
        inner = float(frame.attrib["x"]) + width / 2, float(frame.attrib["width"]) - width
        assert inner == (0, SIDE)  # it covers nothing of the square
        widths.append(width)
    assert widths[1] >= 2 * widths[0]


def test_a_dark_page_has_light_text(result: Regions, svg: ET.Element) -> None:
    dark = ET.fromstring(region_svg(result, 0, dark=True))
    assert marked(svg, "ticks").get("stroke") == "#5D6975"
    assert marked(dark, "ticks").get("stroke") == "#A3B0BC"
    assert embedded(svg).tobytes() != embedded(dark).tobytes()


def test_the_legend_names_the_classes_that_occur() -> None:
    shown = class_colours(torch.tensor([[6, 0], [6, 9]]), torch.tensor([2]))
    assert list(shown) == ["airplane", "bird", "frog", "truck"]
    assert shown["bird"] == CLASS_COLOURS[2]
    assert len(set(CLASS_COLOURS)) == 10


def test_a_sheet_has_every_models_map(result: Regions, sheet: ET.Element) -> None:
    texts = [each.text for each in sheet.iter(f"{SVG}text")]
    assert "Tom & <Jerry>" in texts and sheet.findtext(f"{SVG}title") == "Tom & <Jerry>"
    assert "PGD & co <1>" in texts and "second line" in texts
    kept = result.kept().tolist()
    for i, name in enumerate(("Submodel 1", "Submodel 2", "Submodel 3", "Mixture")):
        assert f"{name} keeps {kept[i]:.0f} %" in texts
    maps = [each for each in sheet.iter(f"{SVG}svg") if each.get("viewBox") and each is not sheet]
    assert len(maps) == 4
    for i, each in enumerate(maps):
        assert embedded(each).tobytes() == region_picture(result, i).tobytes()
    frames = [e for e in sheet.iter(f"{SVG}rect") if e.get("class") == "frame"]
    assert [each.get("stroke-width") for each in frames] == ["1", "1", "1", "3"]
    assert set(class_colours(result.classes)) <= set(texts)


def test_the_maps_of_a_sheet_lie_side_by_side_on_it(sheet: ET.Element) -> None:
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
