"""Starting evaluations, watching them, and what to do where nothing has been measured."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, full_data_available
from dverge.devices import describe_device, resolve_device
from dverge.errors import DvergeError
from dverge.evaluation.autoattack import autoattack_available
from dverge.evaluation.estimate import estimate_seconds
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.store import Images
from dverge.runs import RunState, RunView
from pages.widgets.robustness.view import SUMMARY_PROTOCOLS, show_images
from pages.widgets.shared.messages import errors_as_messages, show_error
from pages.widgets.shared.resources import evaluations, results_of, run_manager
from pages.widgets.shared.run_cards import run_head
from pages.widgets.shared.words import duration

REFRESH = 1.0  # seconds between looks at an evaluation that goes on
PROTOCOL_TITLES = {
    Protocol.STANDARD: "Standard",
    Protocol.AUTOATTACK: "AutoAttack",
    Protocol.CURVE: "Accuracy against eps",
    Protocol.SANITY: "Sanity checks",
    Protocol.REPORT: "The report's own",
}
PROTOCOL_HELP = {
    Protocol.STANDARD: "FGSM and projected PGD with three random starts, the worst case for each "
    "image. The figures to quote.",
    Protocol.AUTOATTACK: "The standard set of four attacks (Croce & Hein 2020). Slow and strict.",
    Protocol.CURVE: "PGD of 20 steps at nine budgets from 0.005 to 0.07.",
    Protocol.SANITY: "What shows whether an attack was too weak or a gradient masked.",
    Protocol.REPORT: "The attacks of the report's tables, which are not projected: for comparison "
    "with those tables only.",
}


def show_evaluations() -> None:
    """A card for each evaluation that goes on or can be gone on with; in place, once a second.

    The place is there without any, so that nothing below it is built anew as cards come and go.
    """
    shown = [view for view in evaluations() if _unfinished(view)]
    with st.container(key="evaluations"):
        if shown:
            active = any(view.status.state.active for view in shown)
            st.fragment(_cards, run_every=REFRESH if active else None)(_position(shown))


def _cards(known: tuple[tuple[str, str, int], ...]) -> None:
    with errors_as_messages():
        shown = [view for view in evaluations() if _unfinished(view)]
        if _position(shown) != known:
            st.rerun()  # there are new figures, or one has ended
        for view in shown:
            with st.container(border=True, key=f"evaluation-{view.id}"):
                run_head(view, PROTOCOL_TITLES[Protocol(view.spec.config["protocol"])])
                st.progress(min(1.0, view.status.progress), text=_words(view))
                if view.status.message:
                    failed = view.status.state is RunState.FAILED
                    (st.error if failed else st.info)(view.status.message)


def _unfinished(view: RunView) -> bool:
    return view.status.state.active or view.status.state.resumable


def _position(views: Sequence[RunView]) -> tuple[tuple[str, str, int], ...]:
    """What changes when the page has something new to show."""
    return tuple((view.id, str(view.status.state), int(view.status.epoch)) for view in views)


def _words(view: RunView) -> str:
    status, config = view.status, view.spec.config
    count = len(config["checkpoints"])
    words = [f"{status.epoch:.0f} measurements done", f"{count} ensemble{'s' * (count > 1)}"]
    if status.seconds_left is not None and status.state.active:
        words.append(f"{duration(status.seconds_left)} left")
    elif status.elapsed:
        words.append(f"{duration(status.elapsed)} so far")
    return " · ".join([*words, *([status.device] if status.device else [])])


def offer(infos: Sequence[CheckpointInfo], protocol: Protocol, images: Images, what: str) -> bool:
    """Say what is missing, how long it takes, and offer to measure it; False if nothing is.

    Args:
        infos: the ensembles that the figures are wanted of.
        protocol: what to measure.
        images: on which.
        what: the figures, such as "Accuracy against eps".
    """
    with errors_as_messages():
        missing = [info for info in infos if _missing(info, protocol, images)]
        if not missing:
            return False
        if any(_is_on_it(view, missing, protocol, images) for view in evaluations()):
            st.info(f"{what}: being measured; see above.", icon=":material/hourglass_top:")
            return True
        names = ", ".join(f"**{info.name}**" for info in missing)
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{what}: not measured yet on {images.title} for {names}. "
                f"About **{duration(_estimate(missing, protocol, images))}** here."
            )
            st.button(
                "Measure",
                icon=":material/speed:",
                type="primary",
                key=f"measure-{protocol}",
                on_click=_start,
                args=(_config(missing, protocol, images),),
            )
        _show_refusal()
    return True


def measure_form(infos: Sequence[CheckpointInfo]) -> None:
    """Any protocol on any images, with an estimate and a button."""
    left, middle, right = st.columns(3)
    protocols = [p for p in Protocol if p is not Protocol.AUTOATTACK or autoattack_available()]
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
        st.number_input("Seed", 0, 2**31 - 1, 0, key="measure-seed", help="Of all chance.")
    st.caption(PROTOCOL_HELP[protocol])
    if not autoattack_available():
        st.caption("AutoAttack is an extra: `pip install pyautoattack==0.2.0`, then start again.")
    with errors_as_messages():
        names = tuple(info.name for info in infos)
        config = _asked_for(names)
        seconds = _seconds(str(config), config, tuple(info.digest for info in infos))
        device = describe_device(resolve_device("auto"))
        about = f"About **{duration(seconds)}** on {device}." if seconds else "All is measured."
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Measure these ensembles",
                icon=":material/speed:",
                key="measure-any",
                on_click=_start_asked_for,
                args=(names,),
                disabled=not seconds,
            )
            st.caption(about)
        _show_refusal()


def _asked_for(names: tuple[str, ...]) -> EvaluationConfig:
    """What the form says, with the usual for what it has not shown yet of a new protocol."""
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


def _config(
    infos: Sequence[CheckpointInfo], protocol: Protocol, images: Images
) -> EvaluationConfig:
    return EvaluationConfig(tuple(i.name for i in infos), protocol, images.split, images.n)


def _missing(info: CheckpointInfo, protocol: Protocol, images: Images) -> bool:
    for kept in results_of(info):
        about = kept
        if about.protocol is protocol and about.data == images.data:
            config = EvaluationConfig((info.name,), protocol, seed=about.seed)
            if all(kept.find(measurement) for measurement in config.measurements()):
                return False
    return True


def _is_on_it(
    view: RunView, infos: Sequence[CheckpointInfo], protocol: Protocol, images: Images
) -> bool:
    config = view.spec.config
    wanted = {info.name for info in infos} & set(config["checkpoints"])
    about = (config["protocol"], config["split"], config["images"])
    same = about == (protocol, images.split, images.n)
    return view.status.state.active and same and bool(wanted)


def _estimate(infos: Sequence[CheckpointInfo], protocol: Protocol, images: Images) -> float:
    config = _config(infos, protocol, images)
    return _seconds(str(config), config, tuple(info.digest for info in infos))


@st.cache_data(max_entries=64, ttl=600, show_spinner="Timing a few gradients")
def _seconds(key: str, _config: EvaluationConfig, digests: tuple[str, ...]) -> float:
    return estimate_seconds(Evaluation(_config))


def _start_asked_for(names: tuple[str, ...]) -> None:
    """Callback: of the form as it is at the click, which the page may not have drawn yet."""
    _start(_asked_for(names))


def _start(config: EvaluationConfig) -> None:
    """Callback of the buttons: a click is not lost where a rerun is under way."""
    st.session_state.pop("measure-refusal", None)
    try:
        images = Evaluation(config).images
        run_manager().submit(config, f"{config.protocol}-{config.split}-{len(images)}")
        if config.protocol in SUMMARY_PROTOCOLS:
            show_images(Images.of(images))
    except DvergeError as error:
        st.session_state["measure-refusal"] = error


def _show_refusal() -> None:
    if (refusal := st.session_state.get("measure-refusal")) is not None:
        show_error(refusal)
