"""The sanity panel from hand-made rows: fine, look closer, and not checked."""

from __future__ import annotations

from typing import Any

import pytest

from dverge.evaluation.sanity import Check, Signal, sanity_checks
from dverge.results import Result

EPS = 8 / 255
MODELS = ("member-1", "member-2", "mixture")
Key = tuple[str, float | None, int | None]  # attack, eps, steps

SOUND: dict[Key, float] = {
    ("clean", None, None): 60.0,
    ("noise", EPS, None): 57.0,
    ("zero-gradient", None, None): 0.4,
    ("pgd-linf", EPS, 1): 20.0,
    ("pgd-linf", EPS, 5): 8.0,
    ("pgd-linf", EPS, 10): 5.5,
    ("pgd-linf", EPS, 50): 5.0,
    ("pgd-linf", 2 / 255, 20): 40.0,
    ("pgd-linf", 4 / 255, 20): 20.0,
    ("pgd-linf", EPS, 20): 5.2,
    ("pgd-linf", 16 / 255, 20): 0.6,
    ("pgd-linf", 0.25, 20): 0.0,
    ("square", EPS, None): 15.0,
}
TITLES = {
    "large": "A large budget breaks everything",
    "budget": "More budget never helps the defence",
    "steps": "More steps never help the defence",
    "ten": "Ten steps are about enough",
    "noise": "Random noise hurts far less",
    "gradient": "There is a gradient to follow",
    "roads": "Another road to the mixture finds no more",
    "square": "An attack without gradients finds no more",
}
ROADS = {"worst": 6.0, "mixture": 15.0, "mixture-logit": 7.0, "mixture-loss": 17.0}
STEP: Key = ("fgsm", EPS, 1)


def row(model: str, key: Key, accuracy: float, victim: str | None = None) -> Result:
    attack, eps, steps = key
    about: dict[str, Any] = {"eps": eps, "steps": steps}
    about = {name: value for name, value in about.items() if value is not None}
    if steps is not None:
        about["victim"] = victim or ("worst" if model == "mixture" else model)
    return Result(model, attack, "test", 500, accuracy, 0.0, 100.0, about)


def rows(figures: dict[Key, float] = SOUND, **changed: dict[Key, float]) -> list[Result]:
    """All models' rows; `changed` by model, with _ for -."""
    own = {name.replace("_", "-"): figures | values for name, values in changed.items()}
    return [
        *(
            row(model, key, accuracy)
            for model in MODELS
            for key, accuracy in own.get(model, figures).items()
        ),
        *along(ROADS),
    ]


def along(roads: dict[str, float]) -> list[Result]:
    """The mixture under one step, by what the step followed."""
    return [row("mixture", STEP, accuracy, victim) for victim, accuracy in roads.items()]


def check(which: str, found: list[Result]) -> Check:
    return next(each for each in sanity_checks(found) if each.title == TITLES[which])


def test_a_sound_evaluation_is_fine_in_every_respect() -> None:
    checks = sanity_checks(rows())
    assert [each.title for each in checks] == list(TITLES.values())
    assert {each.signal for each in checks} == {Signal.FINE}


CHANGES: list[tuple[str, dict[Key, float], str]] = [
    ("large", {("pgd-linf", 0.25, 20): 1.5}, "1.5 % left at eps 0.25"),
    (
        "budget",
        {("pgd-linf", 4 / 255, 20): 41.5},
        "60.0, 40.0, 41.5, 5.2, 0.6, 0.0 % at eps 0, 2/255, 4/255, 8/255, 16/255, 0.25",
    ),
    ("steps", {("pgd-linf", EPS, 5): 22.0}, "20.0, 22.0, 5.5, 5.0 % after 1, 5, 10, 50 steps"),
    ("ten", {("pgd-linf", EPS, 10): 7.0}, "7.0 % after 10 steps, 5.0 % after 50"),
    ("noise", {("noise", EPS, None): 40.0}, "noise of 8/255 takes 20.0 points, the attack 55.0"),
    ("gradient", {("zero-gradient", None, None): 30.0}, "none at 30.0 % of the images"),
    ("square", {("square", EPS, None): 3.5}, "3.5 % hold against Square, 5.0 % against PGD"),
]


@pytest.mark.parametrize(("which", "change", "reason"), CHANGES)
def test_look_closer_names_the_model_that_does_worst(
    which: str, change: dict[Key, float], reason: str
) -> None:
    found = check(which, rows(member_2=change))
    assert (found.signal, found.reason) == (Signal.DOUBT, f"Submodel 2: {reason}")
    found = check(which, rows(mixture=change))
    assert (found.signal, found.reason) == (Signal.DOUBT, f"Mixture: {reason}")
    others = {each.title for each in sanity_checks(rows(member_2=change)) if each.signal != "fine"}
    assert others == {TITLES[which]}


@pytest.mark.parametrize(
    ("which", "change"),
    [
        ("large", {("pgd-linf", 0.25, 20): 1.0}),
        ("budget", {("pgd-linf", 4 / 255, 20): 41.0}),
        ("steps", {("pgd-linf", EPS, 5): 21.0}),
        ("ten", {("pgd-linf", EPS, 10): 6.0}),
        ("noise", {("noise", EPS, None): 42.0}),  # takes 18 of 55 points
        ("gradient", {("zero-gradient", None, None): 1.0}),
        ("square", {("square", EPS, None): 4.0}),
    ],
)
def test_a_point_by_chance_is_fine_still(which: str, change: dict[Key, float]) -> None:
    assert check(which, rows(member_1=change)).signal is Signal.FINE


def test_of_several_the_worst_is_named() -> None:
    some: dict[Key, float] = {("pgd-linf", 0.25, 20): 3.0}
    more: dict[Key, float] = {("pgd-linf", 0.25, 20): 30.0}
    found = check("large", rows(member_1=some, member_2=more, mixture=some))
    assert found.reason == "Submodel 2: 30.0 % left at eps 0.25"


@pytest.mark.parametrize(
    ("which", "key"),
    [
        ("large", ("pgd-linf", 0.25, 20)),
        ("budget", ("pgd-linf", 16 / 255, 20)),
        ("steps", ("pgd-linf", EPS, 1)),
        ("ten", ("pgd-linf", EPS, 10)),
        ("noise", ("noise", EPS, None)),
        ("gradient", ("zero-gradient", None, None)),
    ],
)
def test_what_was_not_measured_is_not_checked(which: str, key: Key) -> None:
    without = rows({k: v for k, v in SOUND.items() if k != key})
    of_one_model_not = [each for each in rows() if each != row("mixture", key, SOUND[key])]
    assert len(of_one_model_not) == len(rows()) - 1
    for found in (check(which, without), check(which, of_one_model_not)):
        assert found.signal is Signal.UNKNOWN
        assert found.reason == "Its figures have not been measured."


def test_without_the_optional_package_it_says_how_to_get_it() -> None:
    without = {key: value for key, value in SOUND.items() if key[0] != "square"}
    checks = sanity_checks(rows(without))
    assert [each.signal for each in checks] == [Signal.FINE] * 7 + [Signal.UNKNOWN]
    assert "pip install pyautoattack" in checks[-1].reason


def test_single_attacks_on_the_mixture_and_random_submodels_are_left_aside() -> None:
    key: Key = ("pgd-linf", 0.25, 20)
    others = [
        row("mixture", key, 90.0, victim="mixture"),
        row("mixture", key, 90.0, victim="members"),
        row("random-member", key, 90.0, victim="worst"),
    ]
    assert check("large", [*others, *rows()]).signal is Signal.FINE


@pytest.mark.parametrize(("own", "signal"), [(16.0, Signal.FINE), (30.0, Signal.DOUBT)])
def test_a_mixture_whose_own_gradient_misses_what_another_finds(own: float, signal: Signal) -> None:
    others = [each for each in rows() if each.attack != "fgsm"]
    found = check("roads", [*others, *along(ROADS | {"mixture": own})])
    assert found.signal is signal
    assert found.reason == (
        f"Mixture: one step of 8/255 along its mean probability leaves {own:.1f} %, along its "
        "mean logit 7.0 %"
    )
    assert check("roads", others).signal is Signal.UNKNOWN


def test_without_rows_nothing_is_checked() -> None:
    checks = sanity_checks([])
    assert {each.signal for each in checks} == {Signal.UNKNOWN}
    assert [each.title for each in checks] == list(TITLES.values())
    assert {each.reason for each in checks} == {"Nothing has been measured yet."}
