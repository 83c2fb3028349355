"""Maps of decision regions: what is drawn is what was found."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from dverge.attacks import Norm, pgd
from dverge.charts import CLASS_COLOURS, class_colours, region_chart, region_frame
from dverge.data import CLASSES
from dverge.evaluation import Regions, regions
from dverge.models import Ensemble


@pytest.fixture(params=[Norm.LINF, Norm.L2])
def found(request: pytest.FixtureRequest, ensemble: Ensemble, images: Tensor) -> Regions:
    config = pgd(request.param, 8 / 255 if request.param is Norm.LINF else 1.0)
    return regions(ensemble, images[:1], 3, config, extent=40 * config.eps, points=41, seed=7)


def unit(found: Regions) -> int:
    return 255 if found.plane.config.norm is Norm.LINF else 1


def at(frame: pd.DataFrame, a: float, b: float) -> pd.DataFrame:
    across = (frame["left"] < a) & (a < frame["right"])
    return frame[across & (frame["low"] < b) & (b < frame["high"])]


def spec_of(chart: Any) -> dict[str, Any]:
    return dict(chart.to_dict())


def rows_of(spec: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    return list(spec["datasets"][spec["layer"][layer]["data"]["name"]])


def test_every_point_lies_in_one_stretch_of_its_class_and_confidence(found: Regions) -> None:
    frame = region_frame(found, -1)
    assert len(frame) < 41 * 41
    for i, b in enumerate(found.vertical.tolist()):
        for j, a in enumerate(found.horizontal.tolist()):
            cell = at(frame, unit(found) * a, unit(found) * b)
            assert cell["class"].tolist() == [CLASSES[int(found.classes[-1, i, j])]]
            sure = 100 * found.confidence[-1, i, j].item()
            assert abs(cell["confidence"].item() - sure) <= 5 + 1e-4


def test_the_colour_is_the_classs_and_paler_where_less_sure(found: Regions) -> None:
    light, dark = (region_frame(found, 0, dark) for dark in (False, True))
    sure = light[light["confidence"] == 100]
    assert len(sure) and len(light) > len(sure)
    for name, colour in zip(sure["class"], sure["colour"], strict=True):
        assert colour == CLASS_COLOURS[CLASSES.index(name)]
    pale = light["confidence"] < 100
    assert (light["colour"] != dark["colour"]).equals(pale)


def test_axes_ball_and_path_are_in_the_attacks_unit(found: Regions) -> None:
    spec = spec_of(region_chart(found, 0))
    x, y = (spec["layer"][0]["encoding"][axis] for axis in "xy")
    reach = unit(found) * found.extent
    assert x["scale"]["domain"] == y["scale"]["domain"] == [-reach, reach]
    assert spec["width"] == spec["height"]
    length = "largest change of a pixel, /255" if unit(found) == 255 else "L2 length"
    assert x["title"] == ["along the attack", f"({length})"]
    assert "seed 7" in y["title"]
    edge, path = rows_of(spec, 1), rows_of(spec, 3)
    assert edge[0]["a"] == pytest.approx(unit(found) * found.plane.config.eps, rel=1e-5)
    drawn = torch.tensor([[row["a"], row["b"]] for row in path], dtype=torch.float64)
    assert torch.allclose(drawn, unit(found) * found.plane.path)


def test_larger_regions_have_their_names_inside_them(found: Regions) -> None:
    spec = spec_of(region_chart(found, 1))
    frame, names = region_frame(found, 1), rows_of(spec, -1)
    for row in names:
        assert at(frame, row["a"], row["b"])["class"].tolist() == [row["class"]]
    common = CLASSES[int(found.classes[1].flatten().mode().values)]
    assert common in {row["class"] for row in names}


def test_the_marked_map_differs_by_its_frame(found: Regions) -> None:
    plain, marked = (spec_of(region_chart(found, 0, marked))["view"] for marked in (False, True))
    assert marked["strokeWidth"] > plain["strokeWidth"]


def test_the_legend_names_the_classes_that_occur() -> None:
    shown = class_colours(torch.tensor([[6, 0], [6, 9]]))
    assert list(shown) == ["airplane", "frog", "truck"]
    assert len(set(CLASS_COLOURS)) == 10
