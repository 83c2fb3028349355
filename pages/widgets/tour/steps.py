"""The tour's steps: one idea each, a picture computed now, and a figure measured on many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

from dverge.attacks import MIXTURE, REPORT_DISTILLATION, Victim
from dverge.charts.robustness import standing_chart, standing_frame
from dverge.checkpoints import CheckpointInfo
from dverge.data import CLASSES, ImageSet, Split, load
from dverge.evaluation.diversity import Pairs
from dverge.evaluation.naming import attack_title, distillation_title, eps_title
from dverge.exploration.distilled import Distilled, distilled
from dverge.exploration.examine import Examination, carried_over, model_names
from dverge.exploration.noise import NoiseTest, noise_test
from dverge.exploration.tour import ATTACK, DRAWS, LAYER, PAIRS, SEED, Tour
from dverge.results import MIXTURE_NAME, Result
from pages.widgets.distilled.view import feature_cells, show_title
from pages.widgets.lab.tabs import answer_cells
from pages.widgets.lab.view import outcome_of
from pages.widgets.robustness.view import FIRST_ATTACK, standing_of, usual_images
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.cards import (
    show_answers,
    show_figures,
    show_html,
    show_matrix,
    show_pictures,
    show_verdict,
)
from pages.widgets.shared.images import ChosenImage, numbered_image
from pages.widgets.shared.resources import BY_CONTENT, colour_of, load_ensemble

SCALE = 16 / 255
LARGE = 300  # px
BUDGET = f"L∞ {eps_title(ATTACK.eps)}"
PGD = attack_title("pgd-linf", {"eps": ATTACK.eps, "steps": ATTACK.steps})
ON_MIXTURE = f"{PGD}, on the mixture"
FEATURES = f"layer {LAYER}, {distillation_title(REPORT_DISTILLATION)}"


@dataclass(frozen=True)
class TourView:
    """What the steps draw: the chosen images and the three checkpoints."""

    tour: Tour
    vanilla: CheckpointInfo
    diverse: CheckpointInfo
    trained: CheckpointInfo

    @property
    def image(self) -> ChosenImage:
        image = numbered_image(self.tour.image)
        assert image is not None  # it is in the bundled sample
        return image

    def outcome(self, info: CheckpointInfo, victim: Victim = MIXTURE) -> Examination:
        """The attack on the tour's image."""
        return outcome_of(info, self.image, AttackChoice(ATTACK, victim, None))

    def robust(self, info: CheckpointInfo) -> tuple[Result, Result] | None:
        """The mixture's accuracy before and under attack, from the stored results."""
        standing = standing_of(info, usual_images(), FIRST_ATTACK)
        if standing is None:
            return None
        return standing.clean[MIXTURE_NAME], standing.robust[MIXTURE_NAME]


@dataclass(frozen=True)
class Step:
    """One step: its title, what draws it, and whether it shows the image under attack."""

    title: str
    show: Callable[[TourView], None]
    about_the_image: bool = True


def _lead(text: str) -> None:
    st.html(f'<p class="dv-lead">{text}</p>')


def _figures(*figures: tuple[str, str]) -> None:
    """Large numbers, each with a line that says what it is."""
    body = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in figures
    )
    show_html(body, "dv-figure")


def _per_cent(result: Result) -> str:
    return f"{result.accuracy:.1f} %"


def _interval(result: Result) -> str:
    return f"95 % interval {result.ci_low:.1f} to {result.ci_high:.1f}"


def show_ensemble(view: TourView) -> None:
    """Three networks agree."""
    outcome = view.outcome(view.vanilla)
    label = CLASSES[outcome.label]
    _lead(
        f"Three small networks look at this picture. All three say <b>{label}</b>, and so does "
        "their <b>mixture</b>, the mean of their probabilities."
    )
    left, right = st.columns([2, 3], gap="large")
    with left:
        show_figures([(outcome.clean, "The picture", f"true class: {label}")], LARGE)
    with right:
        show_answers(outcome, view.vanilla, before_only=True)
    if (figures := view.robust(view.vanilla)) is not None:
        clean = figures[0]
        what = f"of {clean.n:,} test images the mixture classifies correctly ({_interval(clean)})"
        _figures((_per_cent(clean), what))


def show_attack(view: TourView) -> None:
    """A change too small to see fools all of them."""
    outcome = view.outcome(view.vanilla)
    says = CLASSES[int(outcome.after[-1].argmax())]
    _lead(
        "No pixel value changes by more than 8 of 255, which is hard to see. Now the mixture says "
        f"<b>{says}</b>, with {100 * float(outcome.after[-1].max()):.0f} % confidence. An "
        "<b>adversarial attack</b> has followed its gradient for ten steps."
    )
    st.caption(ON_MIXTURE)
    show_pictures(outcome, SCALE, LARGE)
    if (figures := view.robust(view.vanilla)) is not None:
        clean, robust = figures
        _figures(
            (_per_cent(clean), f"of {clean.n:,} test images correct without an attack"),
            (_per_cent(robust), f"under {FIRST_ATTACK} ({_interval(robust)})"),
        )


def show_noise(view: TourView) -> None:
    """It is not just noise."""
    outcome = view.outcome(view.vanilla)
    noise = _noise(view.vanilla, view.image)
    attacked, noisy = (CLASSES[int(p[-1].argmax())] for p in (outcome.after, noise.after))
    _lead(
        "Is any change enough? No: random noise of exactly the same size leaves the answer as it "
        "is. The attack finds the few directions in which the networks are weak."
    )
    show_figures(
        [
            (outcome.adversarial, f"Attacked, {PGD}", f"the mixture says: {attacked}"),
            (noise.image, f"Random noise, {BUDGET}", f"the mixture says: {noisy}"),
        ],
        LARGE,
    )
    _figures(
        (
            f"{noise.fooled[-1]} of {noise.draws}",
            f"random perturbations of {BUDGET} fool the mixture",
        ),
        ("1 of 1", f"attack does, {PGD}"),
    )


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=BY_CONTENT)
def _noise(info: CheckpointInfo, image: ChosenImage) -> NoiseTest:
    outcome = outcome_of(info, image, AttackChoice(ATTACK, MIXTURE, None))
    return noise_test(load_ensemble(info), outcome, DRAWS, SEED)


def show_transfer(view: TourView) -> None:
    """One attack fools all vanilla submodels, but only one of DVERGE's."""
    _lead(
        "Networks trained in the same way share weaknesses: here, an attack on <b>one</b> also "
        "fools the others. <b>DVERGE</b> trains them to differ: here, it fools its victim only."
    )
    with st.grid(2, min_column_width=380):
        for info in (view.vanilla, view.diverse):
            with st.container(border=True):
                show_title(info, f"{PGD}, on each submodel")
                names = model_names(len(info.card.members))[:-1]
                outcomes = [view.outcome(info, Victim(i)) for i in range(len(names))]
                cells = [answer_cells(each)[:-1] for each in outcomes]
                show_matrix("Attacked", "then says", names, names, cells)
                fooled, possible = carried_over([*outcomes, view.outcome(info)])
                st.caption(f"On this picture {fooled} of {possible} attacks carry over.")
    _figures(
        *(
            (
                f"{100 * fooled / attacks:.0f} %",
                f"of {attacks:,} attacks carry over in {name}, over many images ({PGD})",
            )
            for name, (fooled, attacks) in view.tour.transfer.items()
        )
    )


def show_features(view: TourView) -> None:
    """Features that networks mistake for another class."""
    pair = _pair(view.tour)
    source, target = (CLASSES[int(each.labels[0])] for each in (pair.sources, pair.targets))
    _lead(
        f"What are such weaknesses? Here is a picture of class {source}, changed slightly until "
        f"one submodel says {target}: a <b>distilled feature</b> of that submodel. Others that "
        "also say so share the weakness. DVERGE makes that rarer."
    )
    with st.grid(2, min_column_width=380):
        for info in (view.vanilla, view.diverse):
            with st.container(border=True):
                show_title(info, f"Distilled from {FEATURES}")
                _show_features(info, pair)
    _figures(
        *(
            (
                f"{100 * seen / of:.1f} %",
                f"overlap in {name} ({FEATURES}), of {of:,} answers",
            )
            for name, (seen, of) in view.tour.overlap.items()
        )
    )
    st.caption(
        f"Source: test image {view.tour.source}; target: test image {view.tour.target}. The "
        "overlap is the share of answers about another submodel's feature that name its target, "
        f"over {view.tour.pairs} of {PAIRS:,} random pairs of bundled test images: those whose "
        "source and target every submodel of both ensembles classifies correctly. Chosen by code: "
        f"only {view.tour.pairs_fitting} of these pairs show it so clearly."
    )


def _pair(tour: Tour) -> Pairs:
    images = load(Split.SAMPLE)

    def numbered(number: int) -> ImageSet:
        return images.subset((images.indices == number).nonzero().flatten())

    return Pairs(numbered(tour.source), numbered(tour.target))


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=BY_CONTENT)
def _features(info: CheckpointInfo, pair: Pairs) -> Distilled:
    return distilled(load_ensemble(info), pair)


def _show_features(info: CheckpointInfo, pair: Pairs) -> None:
    result = _features(info, pair)
    names = model_names(result.members)[:-1]
    features = result.images[:, LAYER - 1, -1]
    show_figures(
        [(pair.sources.pixels(), "Source", CLASSES[result.source])]
        + [(image, "Distilled", f"on {name}") for image, name in zip(features, names, strict=True)],
        130,
    )
    answers = result.log_probs[:, LAYER - 1, -1, :-1]
    cells = [feature_cells(result, log_probs) for log_probs in answers]
    show_matrix("Distilled on", "says", names, names, cells)


def show_limit(view: TourView) -> None:
    """DVERGE does not stop an attack on the mixture."""
    _lead(
        "An attacker who knows all three networks attacks their <b>mixture</b> itself, and that "
        "fools DVERGE as well. Different weaknesses are still weaknesses."
    )
    _show_beside(view, (view.vanilla, view.diverse))


def show_remedy(view: TourView) -> None:
    """Adversarial training does, at a price."""
    _lead(
        "What helps against that attacker is <b>adversarial training</b>: learning from attacked "
        "pictures. Combined with DVERGE, this mixture holds; the price is some accuracy on "
        "unchanged pictures."
    )
    infos = (view.vanilla, view.diverse, view.trained)
    standings = [standing_of(info, usual_images(), FIRST_ATTACK) for info in infos]
    known = [each for each in standings if each is not None]
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        show_title(view.trained, ON_MIXTURE)
        outcome = view.outcome(view.trained)
        show_verdict(outcome)
        show_pictures(outcome, SCALE)
    with right:
        if known:
            st.altair_chart(
                standing_chart(
                    standing_frame(known), {i.name: colour_of(i) for i in infos}, FIRST_ATTACK
                ),
                key="tour-standing",
                alt="Accuracy under attack against accuracy without, of the three ensembles",
            )
            st.caption("Large: mixtures. Small: submodels. Up and to the right is better.")
    _show_robust(view, infos)
    st.page_link("pages/robustness.py", label="All figures", icon=":material/shield:")


def _show_beside(view: TourView, infos: Sequence[CheckpointInfo]) -> None:
    with st.grid(2, min_column_width=380):
        for info in infos:
            with st.container(border=True):
                show_title(info, ON_MIXTURE)
                outcome = view.outcome(info)
                show_verdict(outcome)
                show_pictures(outcome, SCALE)
    _show_robust(view, infos)


def _show_robust(view: TourView, infos: Sequence[CheckpointInfo]) -> None:
    """How often the mixtures hold over many images."""
    measured = [(info, view.robust(info)) for info in infos]
    robust = [(info, both[1]) for info, both in measured if both is not None]
    _figures(*((_per_cent(each), f"{info.name} ({_interval(each)})") for info, each in robust))
    if robust:
        st.caption(
            f"Per cent of {robust[0][1].n:,} test images on which the mixture is correct under "
            f"{FIRST_ATTACK} (standard protocol, seed 0, the worst case over attacks on mixture "
            "and submodels)."
        )


STEPS = (
    Step("Three networks, one answer", show_ensemble),
    Step("A change too small to see", show_attack),
    Step("It is not just noise", show_noise),
    Step("One attack fools all, or only one", show_transfer),
    Step("What the networks see", show_features, about_the_image=False),
    Step("What DVERGE does not stop", show_limit),
    Step("What helps, and its price", show_remedy),
)
