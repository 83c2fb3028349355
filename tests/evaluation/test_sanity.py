"""The sanity panel from hand-made results: fine, look closer, and not checked."""

from __future__ import annotations

from typing import Any

import pytest

from dverge.evaluation.sanity import Check, Signal, sanity_checks
from dverge.results import Result

EPS = 8 / 255
MODELS = ("member-1", "member-2", "mixture")
Key = tuple[str, float | None, int | None]  # attack, eps, steps
CLEAN: Key = ("clean", None, None)
NOISE: Key = ("noise", EPS, None)
ZERO: Key = ("zero-gradient", None, None)
SQUARE: Key = ("square", EPS, None)
ONE_STEP: Key = ("fgsm", EPS, 1)


def pgd(eps: float, steps: int) -> Key:
    return ("pgd-linf", eps, steps)


SOUND: dict[Key, float] = {
    CLEAN: 60.0,
    NOISE: 57.0,
    ZERO: 0.4,
    pgd(EPS, 1): 20.0,
    pgd(EPS, 5): 8.0,
    pgd(EPS, 10): 5.5,
    pgd(EPS, 50): 5.0,
    pgd(2 / 255, 20): 40.0,
    pgd(4 / 255, 20): 20.0,
    pgd(EPS, 20): 5.2,
    pgd(16 / 255, 20): 0.6,
    pgd(0.25, 20): 0.0,
    SQUARE: 15.0,
}
MIXTURE_ONE_STEP = {"worst": 6.0, "mixture": 15.0, "mixture-logit": 7.0, "mixture-loss": 17.0}
TITLES = {
    "large": "A large budget breaks everything",
    "budget": "More budget never helps the defence",
    "steps": "More steps never help the defence",
    "ten": "Ten steps are about enough",
    "noise": "Random noise hurts far less",
    "gradient": "There is a gradient to follow",
    "other gradients": "Another road to the mixture finds no more",
    "square": "An attack without gradients finds no more",
}


def result(model: str, key: Key, accuracy: float, victim: str | None = None) -> Result:
    attack, eps, steps = key
    parameters: dict[str, Any] = {"eps": eps, "steps": steps}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    if steps is not None:
        parameters["victim"] = victim or ("worst" if model == "mixture" else model)
    return Result(model, attack, "test", 500, accuracy, 0.0, 100.0, parameters)


def results(
    changed: dict[str, dict[Key, float]] | None = None, one_step: dict[str, float] | None = None
) -> list[Result]:
    """A sound evaluation, but for a model's changed accuracies or the mixture's after one step."""
    return [
        *(
            result(model, key, accuracy)
            for model in MODELS
            for key, accuracy in (SOUND | (changed or {}).get(model, {})).items()
        ),
        *(
            result("mixture", ONE_STEP, accuracy, victim)
            for victim, accuracy in (MIXTURE_ONE_STEP | (one_step or {})).items()
        ),
    ]


def check(which: str, inputs: list[Result]) -> Check:
    return next(each for each in sanity_checks(inputs) if each.title == TITLES[which])


def test_a_sound_evaluation_is_fine_in_every_respect() -> None:
    checks = sanity_checks(results())
    assert [each.title for each in checks] == list(TITLES.values())
    assert {each.signal for each in checks} == {Signal.FINE}


@pytest.mark.parametrize(
    ("which", "key", "fine", "doubtful", "reason"),
    [
        ("large", pgd(0.25, 20), 1.0, 1.5, "1.5 % left at eps 0.25"),
        (
            "budget",
            pgd(4 / 255, 20),
            41.0,
            41.5,
            "60.0, 40.0, 41.5, 5.2, 0.6, 0.0 % at eps 0, 2/255, 4/255, 8/255, 16/255, 0.25",
        ),
        ("steps", pgd(EPS, 5), 21.0, 22.0, "20.0, 22.0, 5.5, 5.0 % after 1, 5, 10, 50 steps"),
        ("ten", pgd(EPS, 10), 6.0, 7.0, "7.0 % after 10 steps, 5.0 % after 50"),
        ("noise", NOISE, 42.0, 40.0, "noise of 8/255 takes 20.0 points, the attack 55.0"),
        ("gradient", ZERO, 1.0, 30.0, "none at 30.0 % of the images"),
        ("square", SQUARE, 4.0, 3.5, "3.5 % hold against Square, 5.0 % against PGD"),
    ],
)
def test_a_doubt_names_the_model_that_does_worst(
    which: str, key: Key, fine: float, doubtful: float, reason: str
) -> None:
    """A point by chance is fine."""
    for model, name in (("member-2", "Submodel 2"), ("mixture", "Mixture")):
        doubt = check(which, results({model: {key: doubtful}}))
        assert (doubt.signal, doubt.reason) == (Signal.DOUBT, f"{name}: {reason}")
    checks = sanity_checks(results({"member-2": {key: doubtful}}))
    assert [each.title for each in checks if each.signal != "fine"] == [TITLES[which]]
    assert check(which, results({"member-1": {key: fine}})).signal is Signal.FINE
    missing = [each for each in results() if each != result("mixture", key, SOUND[key])]
    assert len(missing) == len(results()) - 1
    unknown = check(which, missing)
    assert unknown.signal is Signal.UNKNOWN
    if which == "square":
        assert "pip install pyautoattack" in unknown.reason
    else:
        assert unknown.reason == "Its figures have not been measured."


def test_of_several_models_the_worst_is_named() -> None:
    key = pgd(0.25, 20)
    inputs = results({"member-1": {key: 3.0}, "member-2": {key: 30.0}, "mixture": {key: 3.0}})
    assert check("large", inputs).reason == "Submodel 2: 30.0 % left at eps 0.25"


def test_single_attacks_on_the_mixture_and_random_submodels_do_not_count() -> None:
    others = [
        result("mixture", pgd(0.25, 20), 90.0, victim="mixture"),
        result("mixture", pgd(0.25, 20), 90.0, victim="members"),
        result("random-member", pgd(0.25, 20), 90.0, victim="worst"),
    ]
    assert check("large", [*others, *results()]).signal is Signal.FINE


@pytest.mark.parametrize(("own", "signal"), [(16.0, Signal.FINE), (30.0, Signal.DOUBT)])
def test_the_mixtures_own_gradient_against_others(own: float, signal: Signal) -> None:
    inputs = results(one_step={"mixture": own})
    found = check("other gradients", inputs)
    assert found.signal is signal
    assert found.reason == (
        f"Mixture: one step of 8/255 along its mean probability leaves {own:.1f} %, along its "
        "mean logit 7.0 %"
    )
    without = [each for each in inputs if each.attack != "fgsm"]
    assert check("other gradients", without).signal is Signal.UNKNOWN


def test_without_results_nothing_is_checked() -> None:
    checks = sanity_checks([])
    assert {each.signal for each in checks} == {Signal.UNKNOWN}
    assert [each.title for each in checks] == list(TITLES.values())
    assert {each.reason for each in checks} == {"Nothing has been measured yet."}
