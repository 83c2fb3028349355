"""The page of decision regions in process."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, Victim, attack, fgsm, pgd
from dverge.charts.regions import region_svg
from dverge.data import CLASSES, Split, load
from dverge.exploration.plane import attack_plane
from dverge.exploration.regions import Regions, regions, regions_on
from dverge.models import Ensemble, compiled, seeded_conv

ROOT = Path(__file__).parents[2]
NAME, OTHER = "vanilla-3xconv-s0", "dverge-3xconv-s0"
ATTACK = pgd(Norm.LINF, 8 / 255)
EXTENT = 24 / 255


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.run()
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page("pages/regions.py").run()


def sentences(app: AppTest) -> list[str]:
    texts = (element.value.strip("*") for element in app.markdown)
    return [text for text in texts if text.startswith("Within eps on this plane")]


def errors(app: AppTest) -> list[str]:
    return [element.value for element in app.error]


def bodies(app: AppTest) -> list[str]:
    return [element.proto.body for element in app.get("html")]


def maps(app: AppTest) -> list[str]:
    """The drawings on the page, in order."""
    found = re.findall('src="data:image/svg\\+xml;base64,([^"]+)"', "".join(bodies(app)))
    return [base64.b64decode(each).decode() for each in found]


def drawn(result: Regions) -> list[str]:
    last = len(result.models) - 1
    return [region_svg(result, i, i == last) for i in range(last + 1)]


def fast(name: str) -> Ensemble:
    return compiled(checkpoints.load(name))


def picture(number: int) -> tuple[Any, int]:
    images = load(Split.SAMPLE)
    position = images.indices.tolist().index(number)
    return images.pixels(position), int(images.labels[position])


def own(name: str, number: int = 5, **more: Any) -> Regions:
    settings: dict[str, Any] = {"config": ATTACK, "extent": EXTENT}
    return regions(fast(name), *picture(number), **(settings | more))


def test_opens_with_the_two_of_figure_1_and_says_what_the_library_says(folders: Path) -> None:
    app = open_page()
    assert not app.exception and not errors(app)
    both = [own(NAME), own(OTHER)]
    assert sentences(app) == [each.summary() for each in both]
    assert maps(app) == [svg for each in both for svg in drawn(each)]


def test_an_ensembles_maps_are_one_piece_with_words_for_each(folders: Path) -> None:
    app, due = open_page(ensembles=NAME), own(NAME)
    (body,) = [each for each in bodies(app) if "dv-maps" in each]
    kept = [f"{share:.0f} %" for share in due.kept().tolist()]
    for name, share in zip(
        ("submodel 1", "submodel 2", "submodel 3", "mixture"), kept, strict=True
    ):
        words = f"Decision regions of {name} of {NAME}: {share} of the eps ball keep the true class"
        assert f'alt="{words}"' in body
        assert f"<b>{name.capitalize()}</b> <span>keeps {share}</span>" in body


def test_figures_of_every_model_are_there_on_demand(folders: Path) -> None:
    app, due = open_page(ensembles=NAME), own(NAME)
    (table,) = [each for each in bodies(app) if "dv-said" in each]
    rows = re.findall("<tr.*?</tr>", table)[1:]
    for i, row in enumerate(rows):
        cells = re.findall("<td>(.*?)</td>", row)
        for cell, moment in zip(cells, (due.before[i], due.after[i]), strict=False):
            assert cell == f"{CLASSES[int(moment.argmax())]} {100 * moment.max().item():.0f} %"
        assert cells[2].startswith(f"frog {due.kept()[i].item():.0f} %")
        told = {name: int(share) for name, share in re.findall(r"(\w+) (\d+) %", cells[2])}
        assert set(told) >= {CLASSES[j] for j, x in enumerate(due.shares()[i].tolist()) if x > 1}
        assert sum(told.values()) == pytest.approx(100, abs=3)
    assert len(rows) == 4
    assert any(f"of the {int(due.within.sum())} points" in text.value for text in app.caption)


def test_moving_the_reach_attacks_nothing_again(folders: Path) -> None:
    with patch("dverge.exploration.plane.attack", wraps=attack) as attacks:
        app = open_page()
        assert attacks.call_count == 2
        app.select_slider(key="extent").set_value(1.5).run()
        assert attacks.call_count == 2
        app.selectbox(key="points").select(121).run()
        assert attacks.call_count == 2
        app.segmented_control(key="plane").set_value("first").run()
        assert attacks.call_count == 2
        app.number_input(key="image").set_value(9).run()
        assert attacks.call_count == 3  # both ensembles on the plane of the first
    assert not app.exception and len(sentences(app)) == 2


def test_a_link_holds_the_whole_view(folders: Path) -> None:
    app = open_page(
        image="9",
        ensembles=NAME,
        attack="FGSM",
        victim="submodel 2",
        direction="3",
        extent="5",
        points="121",
    )
    due = own(NAME, 9, config=fgsm(8 / 255), victim=Victim(1), extent=40 / 255, points=121, seed=3)
    assert not errors(app)
    assert sentences(app) == [due.summary()]


def test_two_ensembles_on_the_plane_of_the_first(folders: Path) -> None:
    app = open_page(plane="Of the first")
    plane = attack_plane(fast(NAME), *picture(5), ATTACK, MIXTURE)
    second = regions_on(plane, fast(OTHER), 6, extent=EXTENT)
    assert second.summary() != own(OTHER).summary()
    assert sentences(app) == [own(NAME).summary(), second.summary()]
    assert any(f"attack on {NAME}, not on this" in text.value for text in app.caption)


def test_a_missing_member_is_an_error_of_that_ensemble_only(folders: Path) -> None:
    checkpoints.save("two", Ensemble([seeded_conv(1), seeded_conv(2)]), method="vanilla")
    app = open_page(ensembles=f"{NAME},two", victim="submodel 3")
    app.multiselect(key="ensembles").set_value([NAME, "two"]).run()
    app.selectbox(key="victim").select("member-3").run()
    next(button for button in app.button if button.label == "Attack").click().run()
    assert len(sentences(app)) == 1
    assert errors(app) == ["Victim is member 3; this ensemble has members 1 to 2."]
    app.segmented_control(key="plane").set_value("first").run()
    assert len(sentences(app)) == 2 and not errors(app)


def test_no_budget_is_one_clear_message_a_card(folders: Path) -> None:
    app = open_page(eps="0/255 = 0.0000")
    assert not app.exception and not sentences(app)
    assert len(errors(app)) == 2 and "leaves the image as it is" in errors(app)[0]
    assert not maps(app)


def test_a_picture_of_ones_own_has_maps_but_no_link(folders: Path) -> None:
    app = open_page(ensembles=NAME)
    assert any("Open this in the attack lab" in body for body in bodies(app))
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "#336699").save(buffer, "PNG")
    app.file_uploader[0].upload("mine.png", buffer.getvalue()).run()
    assert not app.exception and not errors(app)
    assert len(maps(app)) == 4
    assert not any("Open this in the attack lab" in body for body in bodies(app))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", "62"),
        ("points", "0"),
        ("extent", "-1"),
        ("direction", "-1"),
        ("plane", "elliptic"),
        ("ensembles", "none-such"),
        ("eps", "nan"),
    ],
)
def test_nonsense_in_the_address_never_breaks_the_page(
    folders: Path, name: str, value: str
) -> None:
    app = open_page(**{name: value})
    assert not app.exception
    assert sentences(app) or errors(app) or app.info


def test_no_ensemble_says_where_to_choose(folders: Path) -> None:
    app = open_page()
    app.multiselect(key="ensembles").set_value([]).run()
    assert not app.exception and not maps(app)
    assert "Choose at least one ensemble" in app.info[0].value


def test_no_checkpoint_says_what_to_do(folders: Path) -> None:
    shutil.rmtree(folders / "checkpoints")
    app = open_page()
    assert not app.exception
    assert "There is no checkpoint yet" in app.info[0].value
