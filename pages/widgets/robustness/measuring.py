"""Starting evaluations, watching them, and offering to measure what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, full_data_available
from dverge.devices import describe_device, resolve_device
from dverge.errors import DvergeError
from dverge.evaluation.autoattack import PACKAGE, VERSION, autoattack_available
from dverge.evaluation.estimate import estimate_seconds
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import NEEDS_AUTOATTACK, PLANS, EvaluationConfig, Protocol
from dverge.evaluation.store import Images, why_expired
from dverge.runs import RunView
from pages.widgets.robustness.view import SUMMARY_PROTOCOLS, show_images
from pages.widgets.shared.attack_form import LARGEST_SEED
from pages.widgets.shared.messages import errors_as_messages, show_error
from pages.widgets.shared.resources import BY_CONTENT, evaluations, results_of, run_manager
from pages.widgets.shared.run_cards import duration, show_evaluation

REFRESH = 1.0  # seconds between updates of the evaluations' cards
REFUSAL = "measure-refusal"
AUTOATTACK_IS_EXTRA = (
    f"AutoAttack is an extra: `pip install {PACKAGE}=={VERSION}`, then start the app again."
)
PROTOCOL_TITLES = {
    Protocol.STANDARD: "Standard",
    Protocol.HEADLINE: "Headline",
    Protocol.AUTOATTACK: "AutoAttack",
    Protocol.AUTOATTACK_MEMBERS: "AutoAttack on submodels",
    Protocol.BLACK_BOX: "Black box",
    Protocol.CURVE: "Accuracy against eps",
    Protocol.SANITY: "Sanity checks",
    Protocol.REPORT: "The report's own",
}
PROTOCOL_HELP = {
    Protocol.STANDARD: "FGSM, projected PGD with three random starts, and the strong attack, the "
    "worst case for each image. The figures to quote.",
    Protocol.HEADLINE: "Without attack, and under the strong attack at L∞ 8/255: the one figure to "
    "quote, in the time to have it on all test images.",
    Protocol.AUTOATTACK: "The standard set of four attacks (Croce & Hein 2020), on the mixture "
    "alone. Slow and strict.",
    Protocol.AUTOATTACK_MEMBERS: "The same on each submodel: several times as slow.",
    Protocol.BLACK_BOX: "Images that were made on shipped ensembles of another seed.",
    Protocol.CURVE: "The strong attack at seven budgets from 0.005 to 0.07.",
    Protocol.SANITY: "Whether an attack was too weak or a gradient masked.",
    Protocol.REPORT: "The attacks of the report's tables, which are not projected: for comparison "
    "with those tables only.",
}


def show_evaluations() -> None:
    """A card for each evaluation that is active or can be resumed, updated in place.

    Their container is there even when it is empty, so that nothing below it is rebuilt as cards
    come and go.
    """
    unfinished = _unfinished()
    with st.container(key="evaluations"):
        if unfinished:
            active = any(view.status.state.active for view in unfinished)
            st.fragment(_cards, run_every=REFRESH if active else None)(_progress(unfinished))


def _cards(drawn: tuple[tuple[str, str, int], ...]) -> None:
    with errors_as_messages():
        unfinished = _unfinished()
        if _progress(unfinished) != drawn:
            st.rerun()  # there are new results, or one has ended
        for view in unfinished:
            show_evaluation(view, PROTOCOL_TITLES[Protocol(view.spec.config["protocol"])])


def _unfinished() -> list[RunView]:
    return [v for v in evaluations() if v.status.state.active or v.status.state.resumable]


def _progress(views: Sequence[RunView]) -> tuple[tuple[str, str, int], ...]:
    """Changes when the page has something new to show."""
    return tuple((view.id, str(view.status.state), int(view.status.epoch)) for view in views)


def offer(infos: Sequence[CheckpointInfo], protocol: Protocol, images: Images, what: str) -> bool:
    """Say what is missing, how long it takes, and offer to measure it; False if nothing is missing.

    Args:
        infos: the ensembles to measure.
        protocol: what to measure.
        images: what to measure on.
        what: the results' title, such as "Accuracy against eps".
    """
    with errors_as_messages():
        if protocol in NEEDS_AUTOATTACK and not autoattack_available():
            st.caption(AUTOATTACK_IS_EXTRA)
            return False
        missing = [info for info in infos if _missing(info, protocol, images)]
        if not missing:
            return False
        if any(_is_measuring(view, missing, protocol, images) for view in evaluations()):
            st.info(f"{what}: being measured; see above.", icon=":material/hourglass_top:")
            return True
        names = tuple(info.name for info in missing)
        config = EvaluationConfig(names, protocol, images.split, images.n)
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            changes = {why_expired(info, protocol, images) for info in missing} - {""}
            why = "".join(f" Older results are not shown: {change}." for change in changes)
            st.markdown(
                f"{what}: not measured yet on {images.title} for **{'**, **'.join(names)}**.{why} "
                f"About **{duration(_seconds(config, tuple(missing)))}** here."
            )
            st.button(
                "Measure",
                icon=":material/speed:",
                type="primary",
                key=f"measure-{protocol}",
                on_click=_start,
                args=(config,),
            )
        _show_refusal()
    return True


def measure_form(infos: Sequence[CheckpointInfo]) -> None:
    """Any protocol on any images, with an estimate and a button."""
    left, middle, right = st.columns(3)
    protocols = [p for p in Protocol if p not in NEEDS_AUTOATTACK or autoattack_available()]
    protocol = left.selectbox(
        "Protocol", protocols, format_func=PROTOCOL_TITLES.__getitem__, key="measure-protocol"
    )
    splits = _splits()
    preferred = splits.index(_usual_split(protocol))
    split = middle.selectbox("Split", splits, index=preferred, key=f"measure-split-{protocol}")
    right.number_input(
        "Images",
        1,
        _most_images(split),
        _usual_count(protocol, split),
        key=f"measure-images-{protocol}-{split}",
        help="Balanced over the classes; the same ones for every ensemble.",
    )
    with left:
        st.number_input(
            "Seed", 0, LARGEST_SEED, 0, key="measure-seed", help="For everything random."
        )
    st.caption(PROTOCOL_HELP[protocol])
    if not autoattack_available():
        st.caption(AUTOATTACK_IS_EXTRA)
    with errors_as_messages():
        names = tuple(info.name for info in infos)
        seconds = _seconds(_config_in_form(names), tuple(infos))
        device = describe_device(resolve_device("auto"))
        about = (
            f"About **{duration(seconds)}** on {device}." if seconds else "All of this is measured."
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Measure these ensembles",
                icon=":material/speed:",
                key="measure-any",
                on_click=_start_from_form,
                args=(names,),
                disabled=not seconds,
            )
            st.caption(about)
        _show_refusal()


def _config_in_form(names: tuple[str, ...]) -> EvaluationConfig:
    """The form's settings; the usual ones for fields of a new protocol that are not drawn yet."""
    state = st.session_state
    protocol = state["measure-protocol"]
    split = state.get(f"measure-split-{protocol}", _usual_split(protocol))
    count = state.get(f"measure-images-{protocol}-{split}", _usual_count(protocol, split))
    return EvaluationConfig(names, protocol, split, int(count), int(state["measure-seed"]))


def _splits() -> list[Split]:
    return [Split.TEST, Split.VALIDATION] if full_data_available() else [Split.TEST]


def _most_images(split: Split) -> int:
    return {Split.TEST: 10_000 if full_data_available() else 1000, Split.VALIDATION: 1024}[split]


def _usual_split(protocol: Protocol) -> Split:
    own = PLANS[protocol].split
    return own if own in _splits() else Split.TEST


def _usual_count(protocol: Protocol, split: Split) -> int:
    most = _most_images(split)
    return min(PLANS[protocol].images or most, most)


def _missing(info: CheckpointInfo, protocol: Protocol, images: Images) -> bool:
    for file in results_of(info):
        if file.protocol is protocol and file.data == images.data:
            config = EvaluationConfig((info.name,), protocol, seed=file.seed)
            if all(file.find(measurement) for measurement in config.measurements()):
                return False
    return True


def _is_measuring(
    view: RunView, infos: Sequence[CheckpointInfo], protocol: Protocol, images: Images
) -> bool:
    config = view.spec.config
    common = {info.name for info in infos} & set(config["checkpoints"])
    measured = (config["protocol"], config["split"], config["images"])
    same = measured == (protocol, images.split, images.n)
    return view.status.state.active and same and bool(common)


@st.cache_data(
    max_entries=64, ttl=600, show_spinner="Timing a few gradients", hash_funcs=BY_CONTENT
)
def _seconds(config: EvaluationConfig, infos: tuple[CheckpointInfo, ...]) -> float:
    """How long an evaluation of these checkpoints, which the config names, takes here."""
    return estimate_seconds(Evaluation(config))


def _start_from_form(names: tuple[str, ...]) -> None:
    """Callback: with the form as it is at the click, which the page may not have drawn yet."""
    _start(_config_in_form(names))


def _start(config: EvaluationConfig) -> None:
    """Callback of the buttons: a click during a rerun is not lost."""
    st.session_state.pop(REFUSAL, None)
    try:
        images = Evaluation(config).images
        run_manager().submit(config, f"{config.protocol}-{config.split}-{len(images)}")
        if config.protocol in SUMMARY_PROTOCOLS:
            show_images(Images.of(images))
    except DvergeError as error:
        st.session_state[REFUSAL] = error


def _show_refusal() -> None:
    if (refusal := st.session_state.get(REFUSAL)) is not None:
        show_error(refusal)
