"""The tour in process: every step, its figures, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

from dverge import checkpoints
from dverge.exploration.tour import SHOWN, read_tour
from dverge.results import MIXTURE_NAME
from pages.widgets.robustness.view import FIRST_ATTACK, standing_of, usual_images
from pages.widgets.tour.steps import STEPS
from tests.pages.screen import errors, html, open_page, press, text


def test_each_step_has_a_link(shipped: Path) -> None:
    for number, step in enumerate(STEPS, 1):
        app = open_page("tour", tour_step=str(number))
        assert errors(app) == []
        assert app.title[0].value == step.title
        assert "dv-lead" in html(app) and "dv-figure" in html(app)
        if number == 5:
            setting = "layer 5, L∞ eps 0.07, 10 steps of 0.007"
            for name, (seen, of) in read_tour().overlap.items():
                share = f"<b>{100 * seen / of:.1f} %</b><span>overlap in {name} ({setting}), of "
                assert f"{share}{of:,} answers" in html(app)
            assert text(app).count(f"Distilled from {setting}") == 2
            assert f"over {read_tour().pairs} of 2,000 random pairs" in text(app)
        if number in (2, 6, 7):
            assert "PGD L∞ 8/255, 10 steps, on the mixture" in text(app)
        if number == 4:
            assert text(app).count("PGD L∞ 8/255, 10 steps, on each submodel") == 2
            for name, (fooled, attacks) in read_tour().transfer.items():
                share = f"<b>{100 * fooled / attacks:.0f} %</b>"
                assert f"{share}<span>of {attacks:,} attacks carry over in {name}" in html(app)
    for name in SHOWN:  # the last step's figures are those stored with the checkpoints
        info = checkpoints.read(shipped / "checkpoints" / name)
        standing = standing_of(info, usual_images(), FIRST_ATTACK)
        assert standing is not None
        robust = standing.robust[MIXTURE_NAME]
        interval = f"95 % interval {robust.ci_low:.1f} to {robust.ci_high:.1f}"
        assert f"<b>{robust.accuracy:.1f} %</b><span>{name} ({interval})" in html(app)


def test_next_and_back_go_through_all(shipped: Path) -> None:
    app = open_page("tour")
    titles = [app.title[0].value]
    for _ in range(len(STEPS) - 1):
        titles.append(press(app, "Next").title[0].value)
    assert titles == [step.title for step in STEPS]
    assert next(button for button in app.button if button.label == "Next").disabled
    assert press(app, "Back").title[0].value == STEPS[-2].title


def test_what_is_missing_takes_only_itself_away(folders: Path) -> None:
    for name in SHOWN:
        shutil.rmtree(folders / "checkpoints" / name / "evaluations")
    for number in ("1", "7"):
        app = open_page("tour", tour_step=number)
        assert errors(app) == [] and "<img" in html(app)
    shutil.rmtree(folders / "checkpoints" / SHOWN[2])
    (error,) = errors(open_page("tour", tour_step="3"))
    assert SHOWN[2] in error
