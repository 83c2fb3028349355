"""Maps of decision regions: the picture is taken apart and held against what was found."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import xml.etree.ElementTree as ET

import pytest
import torch
from PIL import Image
from torch import Tensor

from dverge.attacks import MIXTURE, Norm, all_probabilities, attack, pgd
from dverge.charts.regions import (
    CLASS_COLOURS,
    LEFT,
    PALEST,
    SIDE,
    TOP,
    class_colours,
    region_picture,
    region_svg,
    ticks,
)
from dverge.data import CLASSES
from dverge.exploration.regions import Regions, regions
from dverge.models import Ensemble

SVG = "{http://www.w3.org/2000/svg}"
GROUND = {False: (255, 255, 255), True: (15, 20, 25)}


@pytest.fixture(params=[Norm.LINF, Norm.L2])
def found(request: pytest.FixtureRequest, ensemble: Ensemble, images: Tensor) -> Regions:
    config = pgd(request.param, 8 / 255 if request.param is Norm.LINF else 1.0)
    return regions(ensemble, images[:1], 3, config, extent=40 * config.eps, points=41, seed=7)


@pytest.fixture
def near(found: Regions, ensemble: Ensemble) -> Regions:
    """The same plane so near that the attack's end is a point of it: the 10th from the middle."""
    plane = found.plane
    size = 2 * plane.path[-1, 0].item()
    return regions(ensemble, plane.origin, 3, plane.config, extent=size, points=41, seed=7)


def unit(found: Regions) -> int:
    return 255 if found.plane.config.norm is Norm.LINF else 1


def colour(chosen: int, confidence: float, dark: bool) -> tuple[float, ...]:
    """By the formula, a channel at a time."""
    full = [int(CLASS_COLOURS[chosen][i : i + 2], 16) for i in (1, 3, 5)]
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


def course(path: ET.Element) -> list[list[float]]:
    """The corners of a path that goes straight from one to the next."""
    return [[float(v) for v in spot.split()] for spot in path.attrib["d"].strip("M").split("L")]


def place(found: Regions, a: float, b: float) -> list[float]:
    """Where coordinates lie in the square, by the pixels' centres: two of them and a line."""
    side, step = SIDE / 41, (found.axis[1] - found.axis[0]).item()
    return [(20.5 + a / step) * side, (20.5 - b / step) * side]


@pytest.mark.parametrize("dark", [False, True])
def test_every_pixel_is_the_colour_of_its_points_class_and_confidence(
    found: Regions, dark: bool
) -> None:
    for model in (0, -1):
        picture = embedded(ET.fromstring(region_svg(found, model, dark=dark)))
        assert picture.size == (41, 41)
        for i in range(41):
            for j in range(41):
                said = int(found.classes[model, i, j])
                due = colour(said, found.confidence[model, i, j].item(), dark)
                shown = zip(pixel(picture, j, 40 - i), due, strict=True)
                assert all(abs(there - wanted) < 0.51 for there, wanted in shown)
    assert len(found.classes[0].unique()) > 1


def test_confidence_is_not_rounded(found: Regions) -> None:
    sure = found.confidence.clone()
    sure[0] = torch.linspace(0.1, 1, 41 * 41).view(41, 41)
    classes = torch.full_like(found.classes, 1)
    blue = region_picture(dataclasses.replace(found, confidence=sure, classes=classes), 0)
    assert len({pixel(blue, x, y) for x in range(41) for y in range(41)}) > 100


def test_the_middle_and_the_attacks_end_are_what_the_models_say(
    near: Regions, ensemble: Ensemble
) -> None:
    image, config = near.plane.origin, near.plane.config
    end = attack(ensemble, image, torch.tensor([3]), config, MIXTURE).images
    moments = [all_probabilities(ensemble, each)[:, 0] for each in (image, end)]
    for model in range(4):
        svg = ET.fromstring(region_svg(near, model))
        picture, cross = embedded(svg), marked(svg, "cross").attrib["d"]
        x, y = (float(value) for value in cross[1 : cross.index("l")].split())
        at = [int((v + 4) / SIDE * 41) for v in (x, y)]  # the pixel under the cross's middle
        assert at == [30, 20]
        for probabilities, spot in zip(moments, ([20, 20], at), strict=True):
            says = int(probabilities[model].argmax())
            due = colour(says, probabilities[model, says].item(), False)
            assert pixel(picture, *spot) == pytest.approx(due, abs=0.6)


def test_the_picture_fills_the_square_without_smoothing(found: Regions) -> None:
    svg = ET.fromstring(region_svg(found, 0))
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
    ball = marked(svg, "ball")
    edge = course(ball)
    assert edge[0] == pytest.approx(place(near, eps, 0), abs=0.06)
    for x, y in edge[::15]:
        step = (near.axis[1] - near.axis[0]).item()
        a, b = (x * 41 / SIDE - 20.5) * step, (20.5 - y * 41 / SIDE) * step
        size = near.plane.distance(torch.tensor([a]), torch.tensor([b])).item()
        assert size == pytest.approx(eps, rel=0.01)
    due = [place(near, a, b) for a, b in near.plane.path.tolist()]
    assert course(marked(svg, "path")) == [pytest.approx(each, abs=0.06) for each in due]
    assert ball.get("stroke-dasharray") and not marked(svg, "path").get("stroke-dasharray")
    (dot,) = svg.iter(f"{SVG}circle")
    assert [float(dot.attrib[key]) for key in ("cx", "cy")] == [SIDE / 2, SIDE / 2]
    corner, strokes = marked(svg, "cross").attrib["d"].strip("M").split("l", 1)
    middle = [float(value) + 4 for value in corner.split()]
    assert middle == pytest.approx(place(near, *near.plane.path[-1].tolist()), abs=0.06)
    assert strokes == "8 8m-8 0l8-8"


def test_lines_and_names_have_a_halo(found: Regions) -> None:
    svg = ET.fromstring(region_svg(found, 0))
    for name in ("ball", "path", "cross"):
        line = marked(svg, name)
        twins = [each for each in svg.iter(f"{SVG}path") if each.get("d") == line.get("d")]
        (halo,) = [each for each in twins if each is not line]
        assert halo.get("stroke") == "#FFFFFF"
        assert float(halo.attrib["stroke-width"]) > float(line.attrib["stroke-width"])


def test_axes_are_in_the_attacks_unit(found: Regions) -> None:
    svg = ET.fromstring(region_svg(found, 0))
    texts = list(svg.iter(f"{SVG}text"))
    words = [each.text for each in texts]
    length = "largest change of a pixel, /255" if unit(found) == 255 else "L2 length"
    for title in ("along the attack", f"({length})", "random, orthogonal (seed 7)"):
        assert title in words
    numbers = {
        text.replace("−", "-"): each
        for text, each in zip(words, texts, strict=True)
        if text and each.get("text-anchor") == "middle" and text.strip("−").isdigit()
    }
    reach = 40 * unit(found) * found.plane.config.eps  # 320 and 40: ticks 100 and 20 apart
    assert (
        sorted(map(int, numbers))
        == {320: [*range(-300, 301, 100)], 40: [*range(-40, 41, 20)]}[round(reach)]
    )
    for text, each in numbers.items():
        due = place(found, int(text) / unit(found), 0)[0]
        assert float(each.attrib["x"]) == pytest.approx(due, abs=0.06)
    marks = marked(svg, "ticks").attrib["d"]
    for text in numbers:
        x, y = place(found, int(text) / unit(found), int(text) / unit(found))
        assert f"M{x:.1f} {SIDE + 2}v4" in marks and f"M-2 {y:.1f}h-4" in marks


@pytest.mark.parametrize(
    ("reach", "due"),
    [(24.4, 10), (8.13, 5), (65, 20), (2.5, 1), (0.51, 0.2), (0.0163, 0.005), (1020, 500)],
)
def test_ticks_are_round_numbers_about_five(reach: float, due: float) -> None:
    most = math.floor(reach / due)
    assert ticks(reach) == pytest.approx([i * due for i in range(-most, most + 1)])
    assert 3 <= len(ticks(reach)) <= 9


def test_larger_regions_have_their_names_inside_them(found: Regions) -> None:
    for model in range(4):
        names = marked(ET.fromstring(region_svg(found, model)), "names")
        assert len(names) > 0
        for text in names:
            x, y = float(text.attrib["x"]), float(text.attrib["y"]) - 4
            row, half = 40 - int(y / SIDE * 41), 4 * len(text.text or "") + 2
            assert half - 0.1 <= x <= SIDE - half + 0.1  # all of it on the map
            there = found.classes[model, row]
            at = int(x / SIDE * 41)
            reach = there if x in (half, SIDE - half) else there[at : at + 1]
            assert CLASSES.index(text.text or "") in reach.tolist()
        common = CLASSES[int(found.classes[model].flatten().mode().values)]
        assert common in {text.text for text in names}


def test_small_regions_have_no_name(found: Regions) -> None:
    classes = torch.full_like(found.classes, 8)
    classes[:, 3:6, 3:6] = 0
    names = marked(ET.fromstring(region_svg(_with(found, classes), 0)), "names")
    assert [text.text for text in names] == ["ship"]


def test_names_are_where_their_region_is_widest_and_clear_of_the_path(found: Regions) -> None:
    classes = torch.full_like(found.classes, 8)
    classes[:, 10:31, 10:35] = 3  # a rectangle about the path, deepest on the path itself
    names = marked(ET.fromstring(region_svg(_with(found, classes), 0)), "names")
    at = {each.text: (float(each.attrib["x"]), float(each.attrib["y"]) - 4) for each in names}
    x, y = at["cat"]
    row, column = 40 - int(y / SIDE * 41), int(x / SIDE * 41)
    assert classes[0, row, column] == 3
    middle = (found.axis[row].abs() / found.extent, found.axis[column] / found.extent)
    assert middle[0] > 1 / 12 or middle[1] < -1 / 6


def _with(found: Regions, classes: Tensor) -> Regions:
    return dataclasses.replace(found, classes=classes)


def test_many_points_are_named_by_fewer(found: Regions) -> None:
    axis = torch.linspace(-found.extent, found.extent, 301, dtype=torch.float64)
    classes = torch.zeros(4, 301, 301, dtype=torch.int64)
    classes[:, :, 150:] = 9
    fine = dataclasses.replace(
        found, axis=axis, classes=classes, confidence=torch.ones(4, 301, 301)
    )
    names = marked(ET.fromstring(region_svg(fine, 0)), "names")
    at = {each.text: float(each.attrib["x"]) for each in names}
    assert set(at) == {"airplane", "truck"}
    assert at["airplane"] < SIDE / 2 < at["truck"]


def test_the_marked_map_differs_by_its_frame(found: Regions) -> None:
    widths = []
    for thick in (False, True):
        frame = marked(ET.fromstring(region_svg(found, 0, thick)), "frame")
        width = float(frame.attrib["stroke-width"])
        inner = float(frame.attrib["x"]) + width / 2, float(frame.attrib["width"]) - width
        assert inner == (0, SIDE)  # it covers nothing of the square
        widths.append(width)
    assert widths[1] >= 2 * widths[0]


def test_dark_ground_has_light_text(found: Regions) -> None:
    light, dark = (region_svg(found, 0, dark=dark) for dark in (False, True))
    for svg, ink in ((light, "#5D6975"), (dark, "#A3B0BC")):
        assert marked(ET.fromstring(svg), "ticks").get("stroke") == ink
    assert embedded(ET.fromstring(light)).tobytes() != embedded(ET.fromstring(dark)).tobytes()


def test_the_legend_names_the_classes_that_occur() -> None:
    shown = class_colours(torch.tensor([[6, 0], [6, 9]]), torch.tensor([2]))
    assert list(shown) == ["airplane", "bird", "frog", "truck"]
    assert shown["bird"] == CLASS_COLOURS[2]
    assert len(set(CLASS_COLOURS)) == 10
