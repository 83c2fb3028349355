"""The sanity panel from hand-made results: fine, look closer, and not checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dverge.evaluation.sanity import Check, Signal, sanity_checks
from dverge.results import Result, result_of

EPS = 8 / 255
MODELS = ("member-1", "member-2", "mixture")
Key = tuple[str, float | None, int | None]  # attack, eps, steps
CLEAN: Key = ("clean", None, None)
NOISE: Key = ("noise", EPS, None)
ZERO: Key = ("zero-gradient", None, None)
SQUARE: Key = ("square", EPS, None)
ONE_STEP: Key = ("fgsm", EPS, 1)


def pgd(steps: int) -> Key:
    return ("pgd-linf", EPS, steps)


def strong(eps: float) -> Key:
    return ("strong-linf", eps, 60)


SOUND: dict[Key, float] = {
    CLEAN: 60.0,
    NOISE: 57.0,
    ZERO: 0.4,
    pgd(1): 20.0,
    pgd(5): 8.0,
    pgd(10): 5.5,
    pgd(50): 5.2,
    strong(2 / 255): 40.0,
    strong(4 / 255): 20.0,
    strong(EPS): 5.0,
    strong(16 / 255): 2.0,
    strong(0.25): 0.0,
    SQUARE: 15.0,
}
MIXTURE_ONE_STEP = {"worst": 6.0, "mixture": 15.0, "mixture-logit": 7.0, "mixture-loss": 17.0}
TITLES = {
    "large": ("A large budget breaks everything", "A large budget leaves images standing"),
    "budget": ("More budget never helps the defence", "With more budget, fewer images are fooled"),
    "steps": ("More steps never help the defence", "With more steps, fewer images are fooled"),
    "ten": ("Ten steps are about enough", "Ten steps are not enough"),
    "noise": ("Random noise hurts far less", "Random noise hurts nearly as much as the attack"),
    "gradient": ("There is a gradient to follow", "Often there is no gradient to follow"),
    "other gradients": (
        "Another road to the mixture finds no more",
        "Another road to the mixture finds more",
    ),
    "square": (
        "An attack without gradients finds no more",
        "Square, which uses no gradient, finds more",
    ),
}


def result(
    model: str, key: Key, accuracy: float, victim: str = "", n: int = 1000, first: int = 0
) -> Result:
    """Correct on so many per cent of n images, from the position `first` on."""
    attack, eps, steps = key
    parameters: dict[str, Any] = {"eps": eps, "steps": steps}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    if steps is not None:
        parameters["victim"] = victim or ("worst" if model == "mixture" else model)
    at = torch.arange(n)
    right = (at >= first) & (at < first + round(n * accuracy / 100))
    return result_of(right, model, attack, "test", parameters=parameters)


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
    return sanity_checks(inputs)[list(TITLES).index(which)]


def test_a_sound_evaluation_is_fine_in_every_respect() -> None:
    checks = sanity_checks(results())
    assert [each.title for each in checks] == [expected for expected, _ in TITLES.values()]
    assert {each.signal for each in checks} == {Signal.FINE}
    assert all(each.threshold.startswith("Doubt from ") for each in checks)


# Of 1,000 images, a difference is clear from six on which one alone is right: with d of them the
# lower end (Bonett & Price) is d/1002 − 1.96 √((d + 2)/1002 − (d/1002)²)/√1002.
@pytest.mark.parametrize(
    ("which", "key", "fine", "doubtful", "reason"),
    [
        ("large", strong(0.25), 1.0, 1.5, "1.5 % left by the strong attack at eps 0.25"),
        (
            "budget",
            strong(4 / 255),
            40.5,
            40.6,
            "60.0, 40.0, 40.6, 5.0, 2.0, 0.0 % hold at eps 0, 2/255, 4/255, 8/255, 16/255, 0.25",
        ),
        (
            "steps",
            pgd(5),
            20.5,
            20.6,
            "20.0, 20.6, 5.5, 5.2 % hold after 1, 5, 10, 50 steps of PGD",
        ),
        ("ten", pgd(10), 5.7, 5.8, "5.8 % hold after 10 steps of PGD, 5.2 % after 50"),
        ("noise", NOISE, 42.0, 41.0, "noise of 8/255 takes 19.0 points, the strong attack 55.0"),
        ("gradient", ZERO, 1.0, 1.1, "the cross-entropy has none at 1.1 % of the images"),
        (
            "square",
            SQUARE,
            4.5,
            4.4,
            "4.4 % hold against Square, 5.0 % against the strong attack, at 8/255",
        ),
    ],
)
def test_a_doubt_says_what_was_seen_and_names_the_model_that_does_worst(
    which: str, key: Key, fine: float, doubtful: float, reason: str
) -> None:
    expected, otherwise = TITLES[which]
    for model, name in (("member-2", "Submodel 2"), ("mixture", "Mixture")):
        doubt = check(which, results({model: {key: doubtful}}))
        assert (doubt.signal, doubt.reason) == (Signal.DOUBT, f"{name}: {reason}")
    checks = sanity_checks(results({"member-2": {key: doubtful}}))
    assert [each.title for each in checks if each.signal != "fine"] == [otherwise]
    assert check(which, results({"member-1": {key: fine}})).signal is Signal.FINE
    missing = [each for each in results() if each != result("mixture", key, SOUND[key])]
    assert len(missing) == len(results()) - 1
    unknown = check(which, missing)
    assert (unknown.signal, unknown.title) == (Signal.UNKNOWN, expected)
    if which == "square":
        assert "pip install pyautoattack" in unknown.reason
    else:
        assert unknown.reason == "Its figures have not been measured."


@pytest.mark.parametrize(
    ("n", "ten", "first", "signal"),
    [(100, 6.0, 0, Signal.FINE), (1000, 6.0, 0, Signal.DOUBT), (1000, 5.5, 500, Signal.FINE)],
    ids=["few images", "many", "other images are right"],
)
def test_the_paired_interval_decides(n: int, ten: float, first: int, signal: Signal) -> None:
    """Against 4 % after fifty steps; the last would be clear, if the same images were right."""
    found = [result("mixture", pgd(10), ten, n=n), result("mixture", pgd(50), 4.0, "", n, first)]
    assert check("ten", found).signal is signal


def test_of_several_models_the_worst_is_named() -> None:
    key = strong(0.25)
    inputs = results({"member-1": {key: 3.0}, "member-2": {key: 30.0}, "mixture": {key: 3.0}})
    assert check("large", inputs).reason.startswith("Submodel 2: 30.0 % left")


def test_single_attacks_on_the_mixture_and_random_submodels_do_not_count() -> None:
    others = [
        result("mixture", strong(0.25), 90.0, victim="mixture"),
        result("random-member", strong(0.25), 90.0, victim="worst"),
        result("mixture", pgd(50), 90.0, victim="members"),
    ]
    checks = sanity_checks([*others, *results()])
    assert {each.signal for each in checks} == {Signal.FINE}


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
    assert [each.title for each in checks] == [expected for expected, _ in TITLES.values()]
    assert {each.reason for each in checks} == {"Nothing is measured yet."}
