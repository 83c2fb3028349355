"""The attack lab under a targeted and under the strong attack, and its downloads."""

from __future__ import annotations

from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, StrongConfig, Victim, pgd
from dverge.attacks.strong import ways
from dverge.data import CLASSES, Split, load
from dverge.exploration.examine import Examination, carried_over, success, victims_of
from dverge.exploration.noise import noise_test
from dverge.exploration.smallest import smallest_eps
from dverge.exploration.verdicts import MIXTURE_WORDS, Verdict
from dverge.models import Ensemble
from pages.widgets.shared.attack_form import MEAN_LOGIT
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
from tests.pages.test_lab import open_lab, opened, outcome, vanilla, verdicts

SHIP = CLASSES.index("ship")
TARGETED = pgd(Norm.LINF, 8 / 255, targeted=True)
STRONG = StrongConfig(Norm.LINF, 8 / 255)
TABS = (
    "Step by step",
    "Who is fooled",
    "Smallest eps",
    "Beside noise",
    "Several images",
    "Targets",
)
open_targeted = partial(open_lab, target="ship")
open_strong = partial(open_lab, attack="Strong L∞")
pytestmark = pytest.mark.usefixtures("folders")


def lines_of(app: AppTest, start: str) -> list[str]:
    return [each for each in texts(app) if each.startswith(start)]


def headings(app: AppTest) -> list[str]:
    return [body.split("<small>")[1].split("</small>")[0] for body in bodies(app, "<small>")]


# --- targeted ---


def test_a_card_says_whether_the_target_is_reached() -> None:
    app = open_targeted(image="9")
    assert verdicts(app) == [outcome(9, TARGETED, target=SHIP).summary()]
    line = "PGD L∞, eps 8/255 = 0.0314, 10 steps, victim mixture, target ship"
    assert headings(app) == [line]
    assert errors(app) == []


def test_the_course_shows_the_target_beside_the_true_class() -> None:
    app = opened(open_targeted(), "Step by step")
    whole = outcome(5, TARGETED, target=SHIP)
    (line,) = lines_of(app, "Step ")
    assert MIXTURE_WORDS[whole.mixture] in line
    chart = next(each for each in app.get("vega_lite_chart"))
    assert '"role"' in chart.proto.spec and "strokeDash" in chart.proto.spec
    assert "cross-entropy to the target" in text(app)


def test_attacks_carry_over_where_they_reach_the_target() -> None:
    app = opened(open_targeted(), "Who is fooled")
    outcomes = [outcome(5, TARGETED, victim, SHIP) for victim in victims_of(3)]
    count, possible = carried_over(outcomes)
    assert f"also reach the target on another in {count} of {possible} cases" in text(app)
    expected = [verdict for each in outcomes for verdict in each.verdicts]
    assert html(app).count('<td class="partly"><b>≠') == expected.count(Verdict.MISSED)


def test_noise_must_reach_the_target_too() -> None:
    app = opened(open_targeted(image="9"), "Beside noise")
    noise = noise_test(vanilla(), outcome(9, TARGETED, target=SHIP), 100)
    assert f"noise of the same size reaches it in {noise.fooled[-1]} of 100 draws" in text(app)
    assert "Target reached by noise: submodel 1 " in text(app)


def test_several_images_count_the_targets_reached() -> None:
    app = open_targeted(lab_tab="Several images", several="0-9")
    images = load(Split.SAMPLE)
    numbers = [n for n in range(10) if n in images.indices and picture(n)[1] != SHIP]
    outcomes = [outcome(number, TARGETED, target=SHIP) for number in numbers]
    rates, _ = (frame.value for frame in app.dataframe)
    for i, row in enumerate(rates.to_dict("records")):
        reached, correct = success(outcomes, i)
        assert row["Images"] == f"{reached} of {correct}"
        assert row["Target reached"] == pytest.approx(100 * reached / correct)


def test_smallest_eps_is_where_the_target_is_reached() -> None:
    app = open_lab(image="4", target="airplane", lab_tab="Smallest eps")
    assert "the mixture was wrong before the attack" in verdicts(app)[0]
    results = smallest_eps(vanilla(), *picture(4), TARGETED, CLASSES.index("airplane"))
    does = "still does" if results[-1].survives else "no longer does"
    assert f"reaches the target on the mixture; rounded to 8 bits it {does}" in html(app)
    found = [each.survives for each in results if each.survives is not None]
    assert f"{sum(found)} of {len(found)} adversarial images found still succeed" in text(app)
    assert "**Smallest eps at which PGD L∞, 10 steps, target airplane succeeds**" in text(app)


def test_smallest_eps_of_an_image_that_says_the_target_already() -> None:
    app = open_lab(image="4", target="deer", lab_tab="Smallest eps")
    assert verdicts(app)[0].endswith("the mixture said the target before the attack.")
    assert "said the target before the attack" in html(app).split("dv-pictures")[-1]


# --- the mean logit ---


def test_the_mean_logit_is_a_victim() -> None:
    app = open_lab(victim="mean logit")
    mine = outcome(5, pgd(Norm.LINF, 8 / 255), MEAN_LOGIT)
    assert verdicts(app) == [mine.summary()] and errors(app) == []
    assert headings(app) == ["PGD L∞, eps 8/255 = 0.0314, 10 steps, victim mean logit"]
    opened(app, "Who is fooled")
    assert '<th scope="row">mean logit</th>' in html(app)
    opened(app, "Smallest eps")
    assert (
        "attacked itself, the mixture through its mean logit, with" in text(app)
        and errors(app) == []
    )


# --- strong ---


def shown(number: int, victim: Victim = MIXTURE) -> Examination:
    return outcome(number, STRONG, victim)


@pytest.mark.parametrize(("name", "victim"), [("mixture", MIXTURE), ("submodel 2", Victim(1))])
def test_strong_shows_the_librarys_attempt(name: str, victim: Victim) -> None:
    app = open_strong(image="9", victim=name)
    mine = shown(9, victim)
    assert verdicts(app) == [mine.summary()] and errors(app) == []
    assert headings(app) == [f"Strong L∞, eps 8/255 = 0.0314, victim {name}"]
    assert mine.attempt is not None
    line = (
        f"Shown is attempt {mine.attempt + 1} of {len(ways(victim))}, the first to fool the {name}."
    )
    assert lines_of(app, "Shown is attempt") == [line]
    assert "Untargeted only." in text(app)


def test_strong_where_it_fails() -> None:
    app = open_strong(eps="1/255 = 0.0039", image="9")
    assert lines_of(app, "None of 10 attempts fooled the mixture; shown is the last.")
    opened(app, "Step by step")
    assert app.slider(key="lab-step").max == 40 and errors(app) == []
    assert lines_of(app, "Step 40 of 40: ✓ the mixture holds, margin -")


def test_strong_in_every_tab() -> None:
    app = open_strong(several="5, 9", eps="16/255 = 0.0627")
    for tab in TABS:
        opened(app, tab)
        assert errors(app) == [], tab
        if tab in ("Smallest eps", "Targets"):
            (note,) = [each.value for each in app.info]
            assert note.startswith("Not offered for the strong attack")


def test_several_images_at_once_are_as_each_alone() -> None:
    app = open_strong(
        victim="submodel 1", lab_tab="Several images", several="0-5", eps="1/255 = 0.0039"
    )
    config = StrongConfig(Norm.LINF, 1 / 255)
    numbers = [n for n in range(6) if n in load(Split.SAMPLE).indices]
    outcomes = [outcome(number, config, Victim(0)) for number in numbers]
    rates, _ = (frame.value for frame in app.dataframe)
    counts = [success(outcomes, i) for i in range(4)]
    assert [row["Images"] for row in rates.to_dict("records")] == [
        f"{fooled} of {correct}" for fooled, correct in counts
    ]
    assert len({each.attempt for each in outcomes}) > 1 and errors(app) == []


def test_strong_without_a_step_has_no_slider() -> None:
    """An image that the mixture gets wrong is at its random start already."""
    images = load(Split.SAMPLE)
    wrong = next(
        number
        for number in images.indices.tolist()
        if shown(number).mixture is Verdict.WRONG_BEFORE and len(shown(number).course.images) == 1
    )
    app = opened(open_strong(image=str(wrong)), "Step by step")
    assert not app.slider and "The attack took no step" in text(app) and errors(app) == []
    assert not lines_of(app, "Shown is attempt")


def test_strong_on_a_picture_of_ones_own() -> None:
    app = upload(open_strong())
    assert errors(app) == [] and len(verdicts(app)) == 1
    assert "Your picture" in text(app)


def test_strong_on_a_missing_submodel_is_one_clear_message() -> None:
    app = open_strong(lab_tab="Step by step")
    one = checkpoints.save("one", Ensemble(list(vanilla().members)[:1]), method="vanilla")
    app.multiselect(key="ensembles").set_value([VANILLA, one.name]).run()
    app.selectbox(key="victim").select("member-2")
    assert set(errors(press(app, "Attack"))) == {
        "Victim is member 2; this ensemble has members 1 to 1."
    }
    assert len(verdicts(app)) == 1


def test_strong_as_decision_regions() -> None:
    app = open_page("regions", ensembles=VANILLA, attack="Strong L2", image="9")
    config = StrongConfig(Norm.L2, 0.5)
    mine = outcome(9, config)
    assert errors(app) == [] and headings(app) == ["Strong L2, eps 0.50, victim mixture"]
    assert f"At the cross, where the attack ends: {mine.summary()}" in texts(app)
