"""What the Robustness page shows: which ensembles, on which images, under which attack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import streamlit as st

from dverge.charts.style import METHOD_COLOURS
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, full_data_available, load
from dverge.evaluation.comparison import Standing
from dverge.evaluation.naming import attack_title
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import Images, results_under, shared_images
from dverge.reproduction.matching import snapshot_epoch
from dverge.results import Result
from pages.widgets.shared.ensemble_choice import rank_in_method
from pages.widgets.shared.resources import colour_of, evaluations, results_of

MOST_COMPARED = 6
SUMMARY_PROTOCOLS = (
    Protocol.STANDARD,
    Protocol.HEADLINE,
    Protocol.AUTOATTACK,
    Protocol.AUTOATTACK_MEMBERS,
    Protocol.BLACK_BOX,
)
FIRST_ATTACK = "Strong L∞ 8/255"
USUAL = 1000  # images
REQUESTED = "images-just-requested"


@dataclass(frozen=True)
class View:
    """What was chosen: ensembles (the baseline first), images, and the summary's attack."""

    infos: tuple[CheckpointInfo, ...]
    baseline: CheckpointInfo | None
    images: Images
    attack: str

    @property
    def colours(self) -> dict[str, str]:
        return {info.name: colour_of(info) for info in self.infos}

    def standings(self) -> list[Standing]:
        """The standings of the ensembles that have been measured, the baseline first."""
        standings = (standing_of(info, self.images, self.attack) for info in self.infos)
        return [standing for standing in standings if standing is not None]


def choose_view(available: list[CheckpointInfo]) -> View:
    """Draw the page's choices and return them."""
    by_name = {info.name: info for info in sorted(available, key=_rank)}
    first = [info.name for info in by_name.values() if _is_first_seed(info, available)]
    measured = [name for name in first if _is_measured(by_name[name])]
    names = st.multiselect(
        "Ensembles",
        list(by_name),
        default=(measured or first)[:MOST_COMPARED],
        max_selections=MOST_COMPARED,
        key="robust-ensembles",
        bind="query-params",
        help="What to compare. The mixture of vanilla submodels is always shown: any ensemble "
        "gains something, so it is the fair baseline.",
    )
    baseline = next((info for info in by_name.values() if info.card.method == "vanilla"), None)
    chosen = [by_name[name] for name in names]
    if baseline is not None:
        chosen = [baseline, *(info for info in chosen if info != baseline)]
    images = _choose_images(chosen)
    return View(tuple(chosen), baseline, images, _choose_attack(chosen, images))


def _is_first_seed(info: CheckpointInfo, available: list[CheckpointInfo]) -> bool:
    """Whether it is no snapshot and has its method's lowest seed, or none."""
    seeds = [each.card.seed for each in available if each.card.method == info.card.method]
    lowest = min((seed for seed in seeds if seed is not None), default=None)
    return snapshot_epoch(info.name) is None and info.card.seed in (None, lowest)


def _is_measured(info: CheckpointInfo) -> bool:
    return any(each.protocol in SUMMARY_PROTOCOLS for each in results_of(info))


def _rank(info: CheckpointInfo) -> tuple[int, tuple[bool, str]]:
    """A sort key: by method, in the order in which one builds on another, then by name."""
    methods = list(METHOD_COLOURS)
    method = info.card.method
    return methods.index(method) if method in methods else len(methods), rank_in_method(info)


def results_on(info: CheckpointInfo, images: Images, protocols: Iterable[Protocol]) -> list[Result]:
    """An ensemble's results on these images under some protocols, each of the seed with most."""
    files = results_of(info)
    return [row for protocol in protocols for row in results_under(files, protocol, images)]


def standing_of(info: CheckpointInfo, images: Images, attack: str) -> Standing | None:
    """An ensemble's models before and under an attack; None where that was not measured."""
    return Standing.of(info.name, results_on(info, images, SUMMARY_PROTOCOLS), attack)


def title_of(result: Result) -> str:
    """The attack behind a result."""
    return attack_title(result.attack, result.parameters)


def usual_images() -> Images:
    """The thousand bundled test images."""
    return Images(Split.TEST, USUAL, load(Split.SAMPLE).digest)


def measured_images(infos: Iterable[CheckpointInfo], *protocols: Protocol) -> list[Images]:
    """The sets of images that protocols were measured on, those of most ensembles first."""
    return shared_images(map(results_of, infos), *protocols)


def show_images(choice: Images) -> None:
    """Switch the page to these images; call it before the page is drawn."""
    st.session_state[REQUESTED] = choice
    st.session_state["robust-images"] = choice.title


def _choose_images(infos: list[CheckpointInfo]) -> Images:
    options = {each.title: each for each in measured_images(infos, *SUMMARY_PROTOCOLS)}
    usual = usual_images()
    options.setdefault(usual.title, usual)
    if (requested := st.session_state.get(REQUESTED)) is not None:
        options.setdefault(requested.title, requested)
    if full_data_available():
        whole = Images.of(load(Split.TEST))
        options.setdefault(whole.title, whole)
    title = st.selectbox(
        "Images",
        list(options),
        key="robust-images",
        bind="query-params",
        help="All figures side by side are of the same images. A thousand, balanced over the "
        "classes, are bundled with the app.",
    )
    return options[title]


def _choose_attack(infos: list[CheckpointInfo], images: Images) -> str:
    rows = [row for info in infos for row in results_on(info, images, SUMMARY_PROTOCOLS)]
    titles = list(dict.fromkeys(title_of(row) for row in rows if row.attack != "clean"))
    available = FIRST_ATTACK in titles
    # While the usual attack is being measured, the box must not keep the one shown in its place.
    states = [view.status.state for view in evaluations()]
    keep = available or not any(state.active or state.resumable for state in states)
    return st.selectbox(
        "Attack",
        titles or [FIRST_ATTACK],
        index=titles.index(FIRST_ATTACK) if available else 0,
        key="robust-attack" if keep else None,
        bind="query-params" if keep else None,
        disabled=not titles,
        help="The attack in the summary. Strong: APGD on margins, about as strong as AutoAttack. "
        "The mixture's figure is each image's worst case over the attacks on it and its submodels.",
    )
