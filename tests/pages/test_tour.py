"""The tour in process: every step, its figures, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.exploration.tour import SHOWN, read_tour
from dverge.results import MIXTURE_NAME
from pages.widgets.robustness.view import FIRST_ATTACK, standing_of, usual_images
from pages.widgets.tour.steps import STEPS

ROOT = Path(__file__).parents[2]


def open_tour(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.run()
    for name, value in query.items():
        app.query_params[name.replace("_", "-")] = value
    return app.switch_page("pages/tour.py").run()


def html(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_each_step_has_a_link(sample_only: Path, number: int) -> None:
    app = open_tour(tour_step=str(number))
    assert not app.exception and not app.error
    assert app.title[0].value == STEPS[number - 1].title
    assert "dv-lead" in html(app) and "dv-figure" in html(app)


def test_next_and_back_go_through_all(sample_only: Path) -> None:
    app = open_tour()
    titles = [app.title[0].value]
    for _ in range(len(STEPS) - 1):
        titles.append(press(app, "Next").title[0].value)
    assert titles == [step.title for step in STEPS]
    assert next(button for button in app.button if button.label == "Next").disabled
    assert press(app, "Back").title[0].value == STEPS[-2].title


def test_the_figures_are_those_kept_with_the_checkpoints(folders: Path) -> None:
    body = html(open_tour(tour_step="7"))
    for name in SHOWN:
        info = checkpoints.read(folders / "checkpoints" / name)
        standing = standing_of(info, usual_images(), FIRST_ATTACK)
        assert standing is not None
        figure = standing.robust[MIXTURE_NAME]
        interval = f"95 % interval {figure.ci_low:.1f} to {figure.ci_high:.1f}"
        assert f"<b>{figure.accuracy:.1f} %</b><span>{name} ({interval})" in body


def test_the_transfer_is_that_of_the_choice(folders: Path) -> None:
    body = html(open_tour(tour_step="4"))
    for name, (fooled, tries) in read_tour().transfer.items():
        due = f"<b>{100 * fooled / tries:.0f} %</b><span>of {tries:,} attacks carry over in {name}"
        assert due in body


@pytest.mark.parametrize("number", ["0", "8", "-1", "frog"])
def test_a_step_that_is_none_never_breaks_the_page(folders: Path, number: str) -> None:
    app = open_tour(tour_step=number)
    assert not app.exception and not app.error
    assert app.title[0].value == STEPS[0].title


def test_without_evaluations_the_pictures_are_there(folders: Path) -> None:
    for name in SHOWN:
        shutil.rmtree(folders / "checkpoints" / name / "evaluations")
    for number in ("1", "7"):
        app = open_tour(tour_step=number)
        assert not app.exception and not app.error and "<img" in html(app)


def test_a_missing_checkpoint_is_one_clear_message(folders: Path) -> None:
    shutil.rmtree(folders / "checkpoints" / SHOWN[2])
    app = open_tour(tour_step="3")
    assert not app.exception
    assert SHOWN[2] in app.error[0].value
