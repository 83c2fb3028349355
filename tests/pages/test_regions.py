"""The page of decision regions in process."""

from __future__ import annotations

import base64
import re
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, Victim, attack, fgsm, pgd
from dverge.charts.regions import region_svg
from dverge.data import CLASSES
from dverge.exploration.plane import attack_plane
from dverge.exploration.regions import Regions, regions, regions_on
from dverge.models import Ensemble, compiled
from pages.widgets.regions.cards import plane_of, regions_of
from tests.pages.conftest import ROOT
from tests.pages.screen import (
    DVERGE,
    VANILLA,
    bodies,
    errors,
    html,
    open_page,
    picture,
    press,
    text,
    upload,
)

ATTACK = pgd(Norm.LINF, 8 / 255)
EXTENT = 24 / 255


def opened(**query: Any) -> AppTest:
    return open_page("regions", **query)


def sentences(app: AppTest) -> list[str]:
    texts = (element.value.strip("*") for element in app.markdown)
    return [text for text in texts if text.startswith("Within eps on this plane")]


def maps(app: AppTest) -> list[str]:
    """The drawings on the page, in order."""
    found = re.findall('src="data:image/svg\\+xml;base64,([^"]+)"', html(app))
    return [base64.b64decode(each).decode() for each in found]


def drawn(result: Regions) -> list[str]:
    last = len(result.models) - 1
    return [region_svg(result, i, i == last) for i in range(last + 1)]


@cache
def fast(name: str) -> Ensemble:
    return compiled(checkpoints.load(ROOT / "checkpoints" / name))


@cache
def own(name: str, number: int = 5, **more: Any) -> Regions:
    settings: dict[str, Any] = {"config": ATTACK, "extent": EXTENT}
    return regions(fast(name), *picture(number), **(settings | more))


def test_opens_with_the_two_of_figure_1_as_the_library_computes_them(shipped: Path) -> None:
    app = opened()
    assert errors(app) == []
    both = [own(VANILLA), own(DVERGE)]
    assert sentences(app) == [each.summary() for each in both]
    assert maps(app) == [svg for each in both for svg in drawn(each)]


def test_each_map_has_a_text_and_figures_on_demand(shipped: Path) -> None:
    app, expected = opened(ensembles=VANILLA), own(VANILLA)
    (body,) = bodies(app, "dv-maps")  # one piece, so that all change together
    shares = [f"{share:.0f} %" for share in expected.kept().tolist()]
    for name, share in zip(expected.models, shares, strict=True):
        alt = (
            f"Decision regions of {name} of {VANILLA}: {share} of the eps ball keep the true class"
        )
        assert f'alt="{alt}"' in body
        assert f"<b>{name.capitalize()}</b> <span>keeps {share}</span>" in body
    (table,) = bodies(app, "dv-said")
    rows = re.findall("<tr.*?</tr>", table)[1:]
    assert len(rows) == 4
    for i, row in enumerate(rows):
        cells = re.findall("<td>(.*?)</td>", row)
        for cell, moment in zip(cells, (expected.before[i], expected.after[i]), strict=False):
            assert cell == f"{CLASSES[int(moment.argmax())]} {100 * moment.max().item():.0f} %"
        assert cells[2].startswith(f"frog {expected.kept()[i].item():.0f} %")
        listed = {name: int(share) for name, share in re.findall(r"(\w+) (\d+) %", cells[2])}
        every = enumerate(expected.shares()[i].tolist())
        assert set(listed) >= {CLASSES[j] for j, share in every if share > 1}
        assert sum(listed.values()) == pytest.approx(100, abs=3)
    assert f"among the {int(expected.within.sum())} points" in text(app)


def test_moving_the_reach_attacks_nothing_again(shipped: Path) -> None:
    plane_of.clear()
    regions_of.clear()
    with patch("dverge.exploration.examine.attack", wraps=attack) as attacks:
        app = opened(ensembles=VANILLA)
        app.select_slider(key="extent").set_value(1.5).run()
        app.selectbox(key="points").select(121).run()
        assert attacks.call_count == 1
        app.selectbox(key="points").select(61).run()
        app.multiselect(key="ensembles").set_value([VANILLA, DVERGE]).run()
        assert attacks.call_count == 2
        app.segmented_control(key="plane").set_value("first").run()
        assert attacks.call_count == 2
        app.number_input(key="image").set_value(13).run()
        assert attacks.call_count == 3  # both ensembles on the plane of the first
    assert not app.exception and len(sentences(app)) == 2


def test_a_link_holds_the_whole_view(shipped: Path) -> None:
    app = opened(
        image="9",
        ensembles=VANILLA,
        attack="FGSM",
        victim="submodel 2",
        direction="3",
        extent="5",
        points="121",
    )
    config = fgsm(8 / 255)
    expected = own(VANILLA, 9, config=config, victim=Victim(1), extent=40 / 255, points=121, seed=3)
    assert errors(app) == [] and sentences(app) == [expected.summary()]


def test_two_ensembles_on_the_plane_of_the_first(shipped: Path) -> None:
    app = opened(plane="Of the first")
    plane = attack_plane(fast(VANILLA), *picture(), ATTACK, MIXTURE)
    second = regions_on(plane, fast(DVERGE), 6, extent=EXTENT)
    assert second.summary() != own(DVERGE).summary()
    assert sentences(app) == [own(VANILLA).summary(), second.summary()]
    assert f"attack on {VANILLA}, not on this" in text(app)


def test_a_missing_submodel_is_an_error_of_that_ensemble_only(folders: Path) -> None:
    members = checkpoints.load(folders / "checkpoints" / VANILLA).members
    checkpoints.save("two", Ensemble(list(members)[:2]), method="vanilla")
    app = opened(ensembles=VANILLA)
    app.multiselect(key="ensembles").set_value([VANILLA, "two"]).run()
    app.selectbox(key="victim").select("member-3")
    press(app, "Attack")
    assert len(sentences(app)) == 1
    assert errors(app) == ["Victim is member 3; this ensemble has members 1 to 2."]
    app.segmented_control(key="plane").set_value("first").run()
    assert len(sentences(app)) == 2 and not errors(app)


def test_no_budget_is_one_clear_message_a_card(shipped: Path) -> None:
    app = opened(eps="0/255 = 0.0000")
    assert not sentences(app) and not maps(app)
    assert len(errors(app)) == 2 and "leaves the image as it is" in errors(app)[0]


def test_a_picture_of_ones_own_has_maps_but_no_link(shipped: Path) -> None:
    app = opened(ensembles=VANILLA)
    assert "Open this in the attack lab" in html(app)
    upload(app)
    assert errors(app) == [] and len(maps(app)) == 4
    assert "Open this in the attack lab" not in html(app)
