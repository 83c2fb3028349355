"""The chart of distances and the sheet of features show what was distilled."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dverge.attacks import AttackConfig, Norm
from dverge.charts.distilled import (
    BORDER,
    ROW,
    SAYS_SIGNS,
    SIDE,
    distance_chart,
    distance_frame,
    feature_image,
    feature_sheet,
)
from dverge.charts.pictures import to_picture
from dverge.evaluation.diversity import Pairs
from dverge.exploration.distilled import Distilled, Says, distilled
from dverge.models import Ensemble, seeded_conv

CONFIG = AttackConfig(Norm.LINF, 0.1, 0.04, 3)
COLOURS = {"vanilla": "#5B7C99", "driven": "#E07A1F"}


@pytest.fixture(scope="module")
def named(ensemble: Ensemble, pair: Pairs) -> dict[str, Distilled]:
    """Two ensembles, of three and of two members."""
    two = Ensemble([seeded_conv(7), seeded_conv(8)])
    return {"vanilla": distilled(ensemble, pair, CONFIG), "driven": distilled(two, pair, CONFIG)}


def test_a_row_for_each_member_and_step(named: dict[str, Distilled]) -> None:
    frame = distance_frame(named, 2)
    assert len(frame) == (3 + 2) * 4
    for name, result in named.items():
        for i in range(result.members):
            own = frame[(frame["ensemble"] == name) & (frame["model"] == f"submodel {i + 1}")]
            assert own["step"].tolist() == [0, 1, 2, 3]
            distances = result.distances[i, 1]
            expected = [100 * each / distances[0].item() for each in distances.tolist()]
            assert own["distance"].tolist() == pytest.approx(expected)
            assert own["distance"].iloc[0] == 100


def rows_of(spec: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    return list(spec["datasets"][spec["layer"][layer]["data"]["name"]])


def test_the_chart_has_the_ensembles_colours_and_a_rule_at_the_step(
    named: dict[str, Distilled],
) -> None:
    frame = distance_frame(named, 5)
    spec = distance_chart(frame, COLOURS, 2, "Layer 5, L∞ eps 0.1").to_dict()
    rule, lines = spec["layer"]
    assert rule["mark"]["type"] == "rule" and rows_of(spec, 0) == [{"step": 2}]
    assert lines["encoding"]["color"]["scale"] == {
        "domain": list(COLOURS),
        "range": list(COLOURS.values()),
    }
    dashes = lines["encoding"]["strokeDash"]["scale"]
    assert dashes["domain"] == ["submodel 1", "submodel 2", "submodel 3"]
    assert len({tuple(dash) for dash in dashes["range"]}) == 3
    assert len(rows_of(spec, 1)) == len(frame)
    title, setting = spec["title"]["text"]
    assert "% of start" in title and setting == "Layer 5, L∞ eps 0.1"


def test_a_feature_or_its_difference_from_the_source(named: dict[str, Distilled]) -> None:
    result = named["vanilla"]
    feature = result.images[2, 3, 1]
    assert feature_image(result, 2, 4, 1, perturbed=False).equal(feature)
    shown = feature_image(result, 2, 4, 1, perturbed=True)
    delta = feature - result.pair.sources.pixels()[0]
    torch.testing.assert_close(2 * CONFIG.eps * (shown - 0.5), delta, atol=1e-6, rtol=0)
    assert feature_image(result, 0, 1, 0, perturbed=True).eq(0.5).all()
    no_budget = replace(result, config=replace(CONFIG, eps=0.0))
    assert feature_image(no_budget, 0, 1, 0, perturbed=True).eq(0.5).all()


def boxes(sheet: Image.Image, picture: Image.Image) -> list[tuple[int, int]]:
    """Left and top of every place of a sheet that shows a picture."""
    whole, part = np.asarray(sheet), np.asarray(picture)
    ends = (whole[: 1 - SIDE, : 1 - SIDE] == part[0, 0]) & (
        whole[SIDE - 1 :, SIDE - 1 :] == part[-1, -1]
    )
    places = ((int(left), int(top)) for top, left in np.argwhere(ends.all(2)))
    return [(x, y) for x, y in places if (whole[y : y + SIDE, x : x + SIDE] == part).all()]


@pytest.mark.parametrize("perturbed", [False, True])
def test_every_picture_is_on_the_sheet_in_its_row_and_column(
    named: dict[str, Distilled], perturbed: bool
) -> None:
    png = feature_sheet(named, 2, perturbed, "What is said " * 40, "How it was made")
    sheet, pair = Image.open(io.BytesIO(png)).convert("RGB"), named["vanilla"].pair
    ends = pair.sources.pixels(), pair.targets.pixels()
    (source,), (target,) = (boxes(sheet, to_picture(each, 3)) for each in ends)
    assert source[0] == target[0] == BORDER and target[1] - source[1] == ROW
    column: dict[tuple[str, int], int] = {}
    for name, result in named.items():
        for i in range(result.members):
            for layer in (1, 4, 5):
                image = feature_image(result, i, layer, 2, perturbed)
                ((left, top),) = boxes(sheet, to_picture(image, 3))
                assert top == source[1] + i * ROW
                assert column.setdefault((name, layer), left) == left
    for name in named:
        assert column[name, 5] - column[name, 1] == 4 * (SIDE + BORDER)
    assert column["driven", 1] > column["vanilla", 5] + SIDE


def test_long_texts_stay_on_the_sheet(named: dict[str, Distilled]) -> None:
    one = {"vanilla": named["vanilla"]}
    long = "word " * 100
    for texts in ((long, "short"), ("short", long)):
        sheet = Image.open(io.BytesIO(feature_sheet(one, 3, False, *texts))).convert("L")
        edge = sheet.crop((sheet.width - 4, 0, sheet.width, sheet.height))
        assert edge.getextrema() == (255, 255)
    short = Image.open(io.BytesIO(feature_sheet(one, 3, False, "short", "short")))
    assert sheet.height > short.height


def test_every_kind_of_prediction_has_its_own_sign() -> None:
    assert set(SAYS_SIGNS) == set(Says) and len(set(SAYS_SIGNS.values())) == 3
