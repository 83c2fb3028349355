"""The attack lab's tabs in process: each shows what the library computes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import Norm, pgd
from dverge.data import Split, load
from dverge.errors import ConfigError
from dverge.exploration.examine import carried_over, every_victim, examine, model_names, success
from dverge.exploration.noise import noise_test
from dverge.exploration.smallest import smallest_eps
from dverge.exploration.targets import target_grid
from dverge.models import Ensemble
from dverge.results import wilson_interval
from pages.widgets.lab.many import parse_numbers
from tests.pages.test_lab import NAME, errors, open_lab, press

ATTACK = pgd(Norm.LINF, 8 / 255)


def open_tab(tab: str, **query: str) -> AppTest:
    return open_lab(lab_tab=tab, **query)


def picture(number: int = 5) -> tuple[Tensor, int]:
    images = load(Split.SAMPLE)
    position = images.indices.tolist().index(number)
    return images.pixels(position), int(images.labels[position])


def texts(app: AppTest) -> list[str]:
    return [element.value for element in (*app.markdown, *app.caption)]


def html(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


def test_steps_move_together_with_the_slider(folders: Path) -> None:
    app = open_tab("Step by step")
    whole = examine(checkpoints.load(NAME), *picture(), ATTACK)
    assert app.slider(key="lab-step").value == 10
    for step in (10, 0, 3):
        app.slider(key="lab-step").set_value(step).run()
        loss = float(whole.course.objective[step, 0])
        (line,) = [text for text in texts(app) if text.startswith("Step ")]
        sign = {"holds": "✓ the mixture holds", "fooled": "✕ the mixture is fooled"}
        assert line == f"Step {step} of 10: {sign[whole.at(step).mixture]}, loss {loss:.2f} nats."
    assert not errors(app) and not app.exception


def test_play_goes_from_the_first_step_to_the_last_and_stops(folders: Path) -> None:
    app = open_tab("Step by step", steps="3")
    app.button(key="lab-play").click().run()
    seen = [int(app.slider(key="lab-step").value)]  # type: ignore[arg-type]
    for _ in range(6):
        app.run()
        seen.append(int(app.slider(key="lab-step").value))  # type: ignore[arg-type]
    assert sorted(seen) == seen and seen[-1] == 3
    assert app.button(key="lab-play").label == "Play"
    assert not app.exception


def test_fewer_steps_than_the_slider_stood_at(folders: Path) -> None:
    app = open_tab("Step by step")
    app.number_input(key="steps").set_value(4)
    press(app, "Attack")
    assert app.slider(key="lab-step").value == 4 and app.slider(key="lab-step").max == 4
    assert not app.exception and not errors(app)


def test_who_is_fooled_is_every_victim_in_turn(folders: Path) -> None:
    app = open_tab("Who is fooled")
    outcomes = every_victim(checkpoints.load(NAME), *picture(), ATTACK)
    fooled, possible = carried_over(outcomes)
    assert (
        f"**Attacks on one submodel turn {fooled} of {possible} right answers of the others.**"
        in (texts(app))
    )
    body = html(app)
    assert body.count('<td class="holds"><b>') + body.count('<td class="fooled"><b>') == sum(
        verdict != "wrong before the attack" for each in outcomes for verdict in each.verdicts
    )
    assert body.count('<td class="fooled"><b>') == sum(
        verdict == "fooled" for each in outcomes for verdict in each.verdicts
    )


def test_smallest_eps_says_what_the_library_finds(folders: Path) -> None:
    app = open_tab("Smallest eps")
    found = smallest_eps(checkpoints.load(NAME), *picture(), ATTACK)
    assert 0 < (found[-1].eps or 0) < 8 / 255
    assert "smallest change that fools the mixture" in html(app)
    assert any("upper bound" in text for text in texts(app))
    assert not errors(app) and not app.exception


def test_a_budget_of_nothing_is_one_clear_message(folders: Path) -> None:
    app = open_tab("Smallest eps", eps="0/255 = 0.0000")
    assert errors(app) == ["Eps is 0.0; it must be above 0 to search from."]


def test_noise_is_counted_by_the_library(folders: Path) -> None:
    app = open_tab("Beside noise")
    ensemble = checkpoints.load(NAME)
    found = noise_test(ensemble, examine(ensemble, *picture(), ATTACK), 100)
    assert any(
        f"noise of its size does in {found.fooled[-1]} of 100 tries" in t for t in texts(app)
    )
    names = model_names(3)
    words = ", ".join(f"{n} {c} of 100" for n, c in zip(names, found.fooled, strict=True))
    assert f"Fooled by noise: {words}." in texts(app)


def test_several_images_are_each_examined_alone(folders: Path) -> None:
    app = open_tab("Several images", several="5, 9,13-15")
    ensemble = checkpoints.load(NAME)
    numbers = [n for n in (5, 9, 13, 14, 15) if n in load(Split.SAMPLE).indices]
    outcomes = [examine(ensemble, *picture(number), ATTACK) for number in numbers]
    rates, table = (frame.value for frame in app.dataframe)
    for i, row in enumerate(rates.to_dict("records")):
        fooled, right = success(outcomes, i)
        low, high = wilson_interval(fooled, right)
        assert row["Images"] == f"{fooled} of {right}"
        assert row["Fooled"] == pytest.approx(100 * fooled / right)
        assert (row["95 % from"], row["to"]) == pytest.approx((100 * low, 100 * high))
    assert len(table) == len(numbers)
    assert [text.split(" ")[0] for text in table[f"Mixture of {NAME}"]] == [
        {"holds": "✓", "fooled": "✕"}.get(each.mixture, "○") for each in outcomes
    ]


@pytest.mark.parametrize("text", ["frog", "5,-1", "0-40", "", "5 - 9", "99999", "9-5"])
def test_nonsense_for_several_images_is_one_clear_message(folders: Path, text: str) -> None:
    app = open_tab("Several images")
    app.text_input(key="several").set_value(text).run()
    assert not app.exception
    assert len(errors(app)) == 1 and "est images" in errors(app)[0]


def test_numbers_and_ranges() -> None:
    assert parse_numbers(" 5, 9;7-9 5") == [5, 9, 7, 8]
    assert len(parse_numbers("0-31")) == 32
    with pytest.raises(ConfigError, match="there are 33 test images; choose 1 to 32"):
        parse_numbers("0-32")


def test_images_of_the_target_class_are_left_out(folders: Path) -> None:
    app = open_tab("Several images", several="5", target="frog", image="9")
    assert not app.exception
    assert any("No image is left to attack" in info.value for info in app.info)


def test_the_grid_is_measured_on_request(folders: Path) -> None:
    app = open_tab("Targets")
    assert not app.get("vega_lite_chart") and not app.get("arrow_vega_lite_chart")
    app.selectbox(key="grid-images").select(10).run()
    press(app, "Attack every class to every other")
    deadline = time.monotonic() + 60
    due = target_grid(checkpoints.load(NAME), load(Split.SAMPLE).balanced(100), ATTACK)
    while not any("targeted attacks reach" in text for text in texts(app)):
        assert time.monotonic() < deadline and not app.exception and not errors(app)
        time.sleep(0.3)
        app.run()
    (said,) = [text for text in texts(app) if "targeted attacks reach" in text]
    tries = said.split(" of ")[1].split(" ")[0]
    assert tries == f"{9 * int(due.attacked.sum()):,}"
    share = int(said.strip("*").split(" ")[0])
    assert share == pytest.approx(
        100 * int(due.reached.sum()) / (9 * int(due.attacked.sum())), abs=2
    )


def test_more_restarts_are_refused_by_the_grid_in_words(folders: Path) -> None:
    app = open_tab("Targets", restarts="2")
    press(app, "Attack every class to every other")
    time.sleep(0.5)
    app.run()
    assert any("restarts is 2" in warning.value for warning in app.warning)
    assert not app.exception


@pytest.mark.parametrize(
    "tab", ["Step by step", "Who is fooled", "Smallest eps", "Beside noise", "Several images"]
)
def test_a_missing_member_is_said_in_its_own_card(folders: Path, tab: str) -> None:
    """Submodel 3 of the two is none: its cards say so, and the other ensemble's are drawn."""
    app = open_tab(tab)
    app.session_state["victim"] = "member-3"
    two = list(checkpoints.load(NAME).members)[:2]
    checkpoints.save("two", Ensemble(two), method="vanilla")
    app.multiselect(key="ensembles").set_value([NAME, "two"]).run()
    press(app, "Attack")
    assert not app.exception
    assert set(errors(app)) == {"Victim is member 3; this ensemble has members 1 to 2."}
