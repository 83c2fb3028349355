"""The attack's settings: a form whose values live in the page's address."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dverge.attacks import Attack, AttackConfig, Norm, Victim, fgsm, parse_victim, pgd
from dverge.data import CLASSES
from dverge.errors import require_choice

ATTACK_TITLES = {Attack.FGSM: "FGSM", Attack.PGD_LINF: "PGD L∞", Attack.PGD_L2: "PGD L2"}
LINF_EPS = tuple(sorted([*(i / 255 for i in range(33)), 0.03, 40 / 255, 48 / 255, 64 / 255]))
L2_EPS = tuple(i / 20 for i in range(61))
AUTOMATIC = "2.5 · eps / steps"
UNTARGETED = "no target"


@dataclass(frozen=True)
class AttackChoice:
    """What the form holds."""

    config: AttackConfig
    victim: Victim
    target: int | None


def attack_form(most_members: int) -> AttackChoice:
    """Draw the form and return what was last applied.

    Args:
        most_members: of the ensembles shown; the victims to choose from.

    Raises:
        ConfigError: the address holds values that do not go together.
    """
    name = st.segmented_control(
        "Attack",
        [str(attack) for attack in Attack],
        default=str(Attack.PGD_LINF),
        required=True,
        format_func=lambda value: ATTACK_TITLES[Attack(value)],
        key="attack",
        bind="query-params",
        help="FGSM takes one step of length eps. PGD takes many small ones, projected back "
        "into the ball of radius eps about the image after each.",
    )
    kind = require_choice(Attack, "attack", name)
    with st.form("attack-settings", border=False):
        config, victim, target = _fields(kind, most_members)
        st.form_submit_button(
            "Attack", type="primary", icon=":material/bolt:", width="stretch", shortcut="Ctrl+Enter"
        )
    return AttackChoice(config, victim, target)


def _fields(kind: Attack, most_members: int) -> tuple[AttackConfig, Victim, int | None]:
    eps = _eps(kind)
    steps = random_start = step_size = restarts = seed = None
    if kind is not Attack.FGSM:
        left, right = st.columns(2)
        steps = left.number_input(
            "Steps", 1, 1000, 10, key="steps", bind="query-params", help="Gradient steps a try."
        )
        restarts = right.number_input(
            "Restarts",
            1,
            100,
            1,
            key="restarts",
            bind="query-params",
            help="Tries from different random starts; the image keeps the worst.",
        )
    victims = ["mixture", *(f"member-{i}" for i in range(1, most_members + 1))]
    victim = st.selectbox(
        "Victim",
        victims,
        format_func=lambda value: value.replace("member-", "submodel "),
        key="victim",
        bind="query-params",
        help="Whose gradient the attack follows. An attack on one submodel shows what transfers "
        "to the others; an attack on the mixture is the ensemble attacked as deployed.",
    )
    with st.expander("More settings"):
        target = st.selectbox(
            "Target class",
            [UNTARGETED, *CLASSES],
            key="target",
            bind="query-params",
            help="Push towards one class instead of away from the true one.",
        )
        if kind is not Attack.FGSM:
            step_size, random_start, seed = _pgd_details(kind)
    aim = None if target == UNTARGETED else CLASSES.index(target)
    targeted = aim is not None
    if kind is Attack.FGSM:
        return fgsm(eps, targeted=targeted), parse_victim(victim), aim
    config = pgd(
        Norm.LINF if kind is Attack.PGD_LINF else Norm.L2,
        eps,
        steps=steps or 10,
        step_size=step_size,
        random_start=bool(random_start),
        restarts=restarts or 1,
        targeted=targeted,
        seed=seed or 0,
    )
    return config, parse_victim(victim), aim


def _eps(kind: Attack) -> float:
    """The budget, on a slider that shows both units for L-inf."""
    if kind is Attack.PGD_L2:
        return st.select_slider(
            "eps (L2 length, pixels in 0–1)",
            L2_EPS,
            0.5,
            format_func="{:.2f}".format,
            key="eps-l2",
            bind="query-params",
            help="The perturbation's Euclidean length over all 3,072 values is at most this.",
        )
    return st.select_slider(
        "eps (L∞, per pixel)",
        LINF_EPS,
        8 / 255,
        format_func=linf_label,
        key="eps",
        bind="query-params",
        help="No pixel value changes by more than this. 8/255 is the usual budget; "
        "7.65/255 = 0.03 is the report's.",
    )


def linf_label(eps: float) -> str:
    """An L-inf budget in both units, such as "8/255 = 0.0314"."""
    return f"{round(255 * eps, 2):g}/255 = {eps:.4f}"


def _pgd_details(kind: Attack) -> tuple[float | None, bool, int]:
    step_size = st.number_input(
        "Step size",
        0.0,
        1.0 if kind is Attack.PGD_LINF else 10.0,
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
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        0,
        key="seed",
        bind="query-params",
        help="Of the random start: the same seed gives the same attack.",
    )
    return step_size, random_start, seed
