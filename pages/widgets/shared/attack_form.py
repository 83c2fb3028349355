"""The attack's settings: a form whose values live in the page's address, and links that fill it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dverge.attacks import (
    MIXTURE,
    AnyConfig,
    AttackConfig,
    Norm,
    StrongConfig,
    Through,
    Victim,
    fgsm,
    parse_victim,
    pgd,
)
from dverge.data import CLASSES
from dverge.errors import require_choice
from dverge.evaluation.naming import ATTACK_TITLES
from dverge.exploration.kinds import Kind, eps_title, kind_of, victim_title

MEAN_LOGIT = Victim(through=Through.LOGIT)
LINF_EPS = tuple(sorted([*(i / 255 for i in range(33)), 0.03, 40 / 255, 48 / 255, 64 / 255]))
L2_EPS = tuple(i / 20 for i in range(61))
AUTOMATIC = "2.5 · eps / steps"
UNTARGETED = "no target"
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class AttackChoice:
    """What was chosen in the form."""

    config: AnyConfig
    victim: Victim
    target: int | None

    @property
    def mixture(self) -> Victim:
        """The mixture as it is attacked where each model is attacked in turn."""
        return self.victim if self.victim.member is None else MIXTURE


def attack_form(most_members: int) -> AttackChoice:
    """Draw the form and return what was last applied.

    Args:
        most_members: the largest number of members of an ensemble shown; the form offers as many.

    Raises:
        ConfigError: the address holds values that do not go together.
    """
    name = st.segmented_control(
        "Attack",
        list(map(str, Kind)),
        default=str(Kind.PGD_LINF),
        required=True,
        format_func=ATTACK_TITLES.__getitem__,
        key="attack",
        bind="query-params",
        help="FGSM takes one step of length eps. PGD takes many small ones, projected back "
        "into the ball of radius eps about the image after each. Strong makes up to 13 attempts "
        "with APGD and stops at the first that fools its victim: the Robustness tables' strongest.",
    )
    kind = require_choice(Kind, "attack", name)
    with st.form("attack-settings", border=False):
        eps = _choose_eps(kind.norm)
        settings = _choose_steps() if kind in (Kind.PGD_LINF, Kind.PGD_L2) else {}
        victim = _choose_victim(most_members, kind)
        if kind.is_strong:
            settings |= {"seed": _choose_seed()}
            st.caption(
                "Untargeted only. Its steps and restarts are fixed, as in the tables. An image "
                "that holds takes seconds."
            )
            target = UNTARGETED
        else:
            with st.expander("More settings"):
                target = _choose_target()
                if kind is not Kind.FGSM:
                    settings |= _choose_details(1.0 if kind is Kind.PGD_LINF else 10.0)
        st.form_submit_button(
            "Attack", type="primary", icon=":material/bolt:", width="stretch", shortcut="Ctrl+Enter"
        )
    aim = None if target == UNTARGETED else CLASSES.index(target)
    config: AnyConfig
    if kind.is_strong:
        config = StrongConfig(kind.norm, eps, **settings)
    elif kind is Kind.FGSM:
        config = fgsm(eps, targeted=aim is not None)
    else:
        config = pgd(kind.norm, eps, targeted=aim is not None, **settings)
    return AttackChoice(config, parse_victim(victim), aim)


def _choose_victim(most_members: int, kind: Kind) -> str:
    """The model under attack; the strong attack follows the mean logit by itself."""
    mixtures = [MIXTURE] if kind.is_strong else [MIXTURE, MEAN_LOGIT]
    return st.selectbox(
        "Victim",
        [*map(str, mixtures), *(f"member-{i}" for i in range(1, most_members + 1))],
        format_func=lambda value: victim_title(parse_victim(value)),
        key="victim",
        bind="query-params",
        help="Whose gradient the attack follows. An attack on one submodel shows what "
        "transfers to the others; an attack on the mixture is the ensemble attacked as "
        "deployed. The mean logit is another way to attack the mixture: it still has a gradient "
        "where a submodel is so sure that the mean probability has none.",
    )


def _choose_target() -> str:
    return st.selectbox(
        "Target class",
        [UNTARGETED, *CLASSES],
        key="target",
        bind="query-params",
        help="Push towards one class instead of away from the true one.",
    )


def _choose_eps(norm: Norm) -> float:
    """The budget, on a slider that shows both units for L-inf."""
    if norm is Norm.L2:
        return st.select_slider(
            "eps (L2 length, pixels in 0–1)",
            L2_EPS,
            0.5,
            format_func=lambda eps: eps_title(eps, norm),
            key="eps-l2",
            bind="query-params",
            help="The perturbation's Euclidean length over all 3,072 values is at most this.",
        )
    return st.select_slider(
        "eps (L∞, per pixel)",
        LINF_EPS,
        8 / 255,
        format_func=lambda eps: eps_title(eps, norm),
        key="eps",
        bind="query-params",
        help="No pixel value changes by more than this. 8/255 is the usual budget; "
        "7.65/255 = 0.03 is the report's.",
    )


def _choose_steps() -> dict[str, Any]:
    """PGD's steps and restarts."""
    left, right = st.columns(2)
    steps = left.number_input(
        "Steps", 1, 1000, 10, key="steps", bind="query-params", help="Gradient steps per restart."
    )
    restarts = right.number_input(
        "Restarts",
        1,
        100,
        1,
        key="restarts",
        bind="query-params",
        help="Attempts from different random starts; the strongest one counts.",
    )
    return {"steps": steps, "restarts": restarts}


def _choose_details(largest_step: float) -> dict[str, Any]:
    """PGD's step size, random start and seed."""
    step_size = st.number_input(
        "Step size",
        0.0,
        largest_step,
        None,
        step=0.001,
        format="%.4f",
        placeholder=AUTOMATIC,
        key="step",
        bind="query-params",
        help=f"In the unit of eps. Empty means {AUTOMATIC}.",
    )
    random_start = st.toggle(
        "Random start",
        True,
        key="random",
        bind="query-params",
        help="Begin at a random point of the ball. Needed for more than one restart.",
    )
    return {"step_size": step_size, "random_start": random_start, "seed": _choose_seed()}


def _choose_seed() -> int:
    return st.number_input(
        "Seed",
        0,
        LARGEST_SEED,
        0,
        key="seed",
        bind="query-params",
        help="Of the random start: the same seed gives the same attack.",
    )


def attack_query(
    choice: AttackChoice, image_number: int | None, ensembles: Sequence[str]
) -> dict[str, str | list[str]]:
    """The query parameters that open a page with this form on the same attack.

    Args:
        choice: from the form.
        image_number: in CIFAR-10's test set; None leaves the other page's image as it is.
        ensembles: names of checkpoints; a page takes the first ones, as many as it shows.
    """
    config, kind = choice.config, kind_of(choice.config)
    query: dict[str, str | list[str]] = {
        "ensembles": list(ensembles),
        "attack": ATTACK_TITLES[kind],
        "victim": victim_title(choice.victim),
        "eps" if kind.norm is Norm.LINF else "eps-l2": eps_title(config.eps, kind.norm),
    }
    if image_number is not None:
        query["image"] = str(image_number)
    if kind is not Kind.FGSM:
        query["seed"] = str(config.seed)
    if isinstance(config, StrongConfig):
        return query
    query["target"] = UNTARGETED if choice.target is None else CLASSES[choice.target]
    if kind is not Kind.FGSM:
        query |= _pgd_query(config)
    return query


def _pgd_query(config: AttackConfig) -> dict[str, str]:
    query = {
        "steps": str(config.steps),
        "restarts": str(config.restarts),
        "random": str(config.random_start).lower(),
    }
    if config.step_size != pgd(config.norm, config.eps, steps=config.steps).step_size:
        query["step"] = repr(config.step_size)  # otherwise the form's own default
    return query
