"""The attack lab in process: each card and tab shows what the library computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import MIXTURE, AnyConfig, Norm, StrongConfig, Victim, fgsm, pgd
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.exploration.examine import (
    Examination,
    carried_over,
    examine,
    model_names,
    success,
    victims_of,
)
from dverge.exploration.noise import noise_test
from dverge.exploration.smallest import smallest_eps
from dverge.exploration.targets import target_grid
from dverge.exploration.verdicts import Verdict
from dverge.models import Ensemble, compiled
from dverge.results import wilson_interval
from pages.widgets.lab import many
from pages.widgets.lab.many import parse_numbers
from pages.widgets.shared.resources import load_ensemble
from tests.pages.conftest import ROOT
from tests.pages.screen import (
    VANILLA,
    bodies,
    errors,
    html,
    open_page,
    picture,
    press,
    text,
    texts,
    upload,
)

ATTACK = pgd(Norm.LINF, 8 / 255)
TABS_PER_IMAGE = ("Step by step", "Who is fooled", "Smallest eps", "Beside noise", "Several images")


def open_lab(**query: Any) -> AppTest:
    return open_page("lab", **({"ensembles": VANILLA} | query))


def opened(app: AppTest, tab: str) -> AppTest:
    app.session_state["lab-tab"] = tab
    return app.run()


@cache
def vanilla() -> Ensemble:
    return checkpoints.load(ROOT / "checkpoints" / VANILLA)


def outcome(
    number: int = 5,
    config: AnyConfig = ATTACK,
    victim: Victim = MIXTURE,
    target: int | None = None,
) -> Examination:
    ensemble = compiled(vanilla()) if isinstance(config, StrongConfig) else vanilla()
    return examine(ensemble, *picture(number), config, victim, target, number)


def verdicts(app: AppTest) -> list[str]:
    return [body.split("<span>")[1].split("</span>")[0] for body in bodies(app, "dv-verdict")]


# --- the cards ---


def test_shows_what_the_library_computes(shipped: Path) -> None:
    app = open_lab()
    app.number_input(key="image").set_value(9).run()
    assert verdicts(app) == [outcome(9).summary()]
    app.number_input(key="image").set_value(5).run()
    app.segmented_control(key="attack").set_value("fgsm").run()
    for name, victim in (("mixture", MIXTURE), ("member-2", Victim(1))):
        app.selectbox(key="victim").select(name)
        press(app, "Attack")
        assert verdicts(app) == [outcome(5, fgsm(8 / 255), victim).summary()]
    assert errors(app) == []


def test_opens_with_one_ensemble_of_each_method(shipped: Path) -> None:
    app = open_page("lab")
    shown = ["vanilla-3xconv-s0", "dverge-3xconv-s0", "dverge-advt-3xconv-s0"]
    assert app.multiselect(key="ensembles").value == shown
    assert len(verdicts(app)) == 3 and not errors(app)


def test_settings_that_do_not_go_together_are_one_clear_message(shipped: Path) -> None:
    app = open_lab()
    app.number_input(key="restarts").set_value(3)
    app.toggle(key="random").set_value(False)
    (error,) = errors(press(app, "Attack"))
    assert "without a random start every restart is the same" in error
    app.toggle(key="random").set_value(True)
    app.selectbox(key="target").select("frog")
    (error,) = errors(press(app, "Attack"))
    assert error == "The target class is the true class, frog; choose another target."
    app.selectbox(key="target").select("ship")
    assert errors(press(app, "Attack")) == [] and len(verdicts(app)) == 1


def test_an_image_outside_the_sample_is_replaced_by_the_nearest(shipped: Path) -> None:
    app = open_lab()
    outside = next(i for i in range(10_000) if i not in load(Split.SAMPLE).indices.tolist())
    app.number_input(key="image").set_value(outside).run()
    assert "is not in the bundled sample" in text(app)
    assert len(verdicts(app)) == 1


@pytest.mark.parametrize(
    ("mode", "size"), [("RGB", (60, 40)), ("RGBA", (33, 80)), ("L", (64, 64)), ("RGB", (1, 1))]
)
def test_a_picture_of_ones_own(shipped: Path, mode: str, size: tuple[int, int]) -> None:
    app = upload(open_lab(), mode, size)
    assert len(verdicts(app)) == 1 and not errors(app)
    assert "Your picture" in text(app)


def test_a_file_that_is_no_picture_is_one_clear_message(shipped: Path) -> None:
    app = open_lab()
    app.file_uploader[0].upload("mine.png", b"not a picture").run()
    assert len(errors(app)) == 1
    assert len(verdicts(app)) == 1  # the numbered image is shown instead


def test_a_missing_submodel_or_a_changed_file_is_an_error_in_its_own_card(folders: Path) -> None:
    checkpoints.save("two", Ensemble(list(vanilla().members)[:2]), method="vanilla")
    app = open_lab()
    app.multiselect(key="ensembles").set_value([VANILLA, "two"]).run()
    assert len(verdicts(app)) == 2 and not errors(app)
    app.selectbox(key="victim").select("member-3")
    missing = "Victim is member 3; this ensemble has members 1 to 2."
    assert errors(press(app, "Attack")) == [missing]
    assert len(verdicts(app)) == 1
    for tab in TABS_PER_IMAGE:
        assert set(errors(opened(app, tab))) == {missing}
    file = folders / "checkpoints" / "two" / "member-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    load_ensemble.clear()  # as at the next start of the app
    app.number_input(key="image").set_value(9)
    app.selectbox(key="victim").select("mixture")
    press(opened(app, "Choose an image"), "Attack")
    (error,) = errors(app)
    assert "member-2.safetensors does not match" in error and len(verdicts(app)) == 1


# --- the tabs ---


def test_steps_can_be_scrubbed_and_played(shipped: Path) -> None:
    app = opened(open_lab(), "Step by step")
    whole = outcome()
    assert app.slider(key="lab-step").value == 10
    for step in (10, 0, 3):
        app.slider(key="lab-step").set_value(step).run()
        loss = float(whole.course.objective[step, 0])
        (line,) = [each for each in texts(app) if each.startswith("Step ")]
        verdict = whole.at(step).mixture
        sign = {"holds": "✓ the mixture holds", "fooled": "✕ the mixture is fooled"}[verdict]
        assert line == f"Step {step} of 10: {sign}, loss {loss:.2f} nats."
    app.slider(key="lab-step").set_value(10).run()
    app.number_input(key="steps").set_value(3)
    press(app, "Attack")
    assert app.slider(key="lab-step").value == 3 and app.slider(key="lab-step").max == 3
    app.button(key="lab-play").click().run()
    shown = [int(app.slider(key="lab-step").value)]  # type: ignore[arg-type]
    for _ in range(6):
        app.run()
        shown.append(int(app.slider(key="lab-step").value))  # type: ignore[arg-type]
    assert sorted(shown) == shown and shown[0] < 3 and shown[-1] == 3
    assert app.button(key="lab-play").label == "Play"
    assert errors(app) == []


def test_who_is_fooled_is_every_victim_in_turn(shipped: Path) -> None:
    app = opened(open_lab(), "Who is fooled")
    outcomes = [outcome(victim=victim) for victim in victims_of(3)]
    fooled, possible = carried_over(outcomes)
    assert f"also fool another in {fooled} of {possible} cases.**" in text(app)
    expected = [verdict for each in outcomes for verdict in each.verdicts]
    for kind in (Verdict.HOLDS, Verdict.FOOLED):
        assert html(app).count(f'<td class="{kind}"><b>') == expected.count(kind)


def test_smallest_eps_is_searched_by_the_library(shipped: Path) -> None:
    app = opened(open_lab(), "Smallest eps")
    smallest = smallest_eps(vanilla(), *picture(), ATTACK)
    assert 0 < (smallest[-1].eps or 0) < 8 / 255
    assert "smallest change that fools the mixture" in html(app)
    assert "upper bound" in text(app) and errors(app) == []
    app = open_lab(lab_tab="Smallest eps", eps="0/255 = 0.0000")
    assert errors(app) == ["Eps is 0.0; it must be above 0 to search from."]


def test_noise_is_counted_by_the_library(shipped: Path) -> None:
    app = opened(open_lab(), "Beside noise")
    noise = noise_test(vanilla(), outcome(), 100)
    assert f"noise of the same size fools it in {noise.fooled[-1]} of 100 draws" in text(app)
    pairs = zip(model_names(3), noise.fooled, strict=True)
    counts = ", ".join(f"{name} {count} of 100" for name, count in pairs)
    assert f"Fooled by noise: {counts}." in texts(app)


def test_several_images_are_each_examined_alone(shipped: Path) -> None:
    app = open_lab(lab_tab="Several images", several="5, 9,13-15")
    numbers = [n for n in (5, 9, 13, 14, 15) if n in load(Split.SAMPLE).indices]
    outcomes = [outcome(number) for number in numbers]
    rates, table = (frame.value for frame in app.dataframe)
    for i, row in enumerate(rates.to_dict("records")):
        fooled, correct = success(outcomes, i)
        low, high = wilson_interval(fooled, correct)
        assert row["Images"] == f"{fooled} of {correct}"
        assert row["Fooled"] == pytest.approx(100 * fooled / correct)
        assert (row["95 % from"], row["to"]) == pytest.approx((100 * low, 100 * high))
    assert len(table) == len(numbers)
    assert [each.split(" ")[0] for each in table[f"Mixture of {VANILLA}"]] == [
        {"holds": "✓", "fooled": "✕"}.get(each.mixture, "○") for each in outcomes
    ]
    for nonsense in ("frog", "5,-1", "0-40", "", "5 - 9", "99999", "9-5"):
        app.text_input(key="several").set_value(nonsense).run()
        (error,) = errors(app)
        assert "est images" in error
    app = open_lab(lab_tab="Several images", several="5", target="frog", image="9")
    assert "No image is left to attack" in text(app) and not app.exception


def test_numbers_and_ranges() -> None:
    assert parse_numbers(" 5, 9;7-9 5") == [5, 9, 7, 8]
    assert len(parse_numbers("0-31")) == 32
    with pytest.raises(ConfigError, match="there are 33 test images; choose 1 to 32"):
        parse_numbers("0-32")


@pytest.fixture
def few_images(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """So few images of each class for the grid that it takes no time."""
    monkeypatch.setattr(many, "PER_CLASS", (2, 3))
    yield 3  # the second is the first choice
    many._grid_task.clear()


def test_the_grid_is_measured_on_request(few_images: int) -> None:
    app = opened(open_lab(), "Targets")
    assert not app.get("vega_lite_chart") and not app.get("arrow_vega_lite_chart")
    press(app, "Attack every class to every other")
    deadline = time.monotonic() + 60
    while "targeted attacks reach" not in text(app):
        assert time.monotonic() < deadline and not errors(app)
        time.sleep(0.1)
        app.run()
    expected = target_grid(vanilla(), load(Split.SAMPLE).balanced(10 * few_images), ATTACK)
    attacks = 9 * int(expected.attacked.sum())
    (summary,) = [each for each in texts(app) if "targeted attacks reach" in each]
    assert summary.split(" of ")[1].split(" ")[0] == f"{attacks:,}"
    share = int(summary.strip("*").split(" ")[0])
    assert share == pytest.approx(100 * int(expected.reached.sum()) / attacks, abs=2)


def test_the_grid_refuses_more_restarts(few_images: int) -> None:
    app = open_lab(lab_tab="Targets", restarts="2")
    press(app, "Attack every class to every other")
    deadline = time.monotonic() + 60
    while not app.warning:
        assert time.monotonic() < deadline and not errors(app)
        time.sleep(0.1)
        app.run()
    assert "restarts is 2" in app.warning[0].value
