"""What all viewers share, and the rule by which results are cached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st
import torch

from dverge import checkpoints
from dverge.charts.style import ensemble_colour
from dverge.checkpoints import CheckpointInfo
from dverge.data import BackgroundObtain, ImageSet
from dverge.evaluation.diversity import Pairs
from dverge.evaluation.predictions import predictions
from dverge.evaluation.store import ResultFile, read_all, results_stamp
from dverge.models import Ensemble, compiled
from dverge.runs import RunManager, RunView
from dverge.stored import Broken
from pages.widgets.shared.images import ChosenImage

BY_CONTENT: dict[str | type[Any], Any] = {
    CheckpointInfo: lambda info: info.digest,
    ImageSet: lambda images: images.digest,
    ChosenImage: lambda image: image.digest,
    Pairs: lambda pairs: (pairs.sources, pairs.targets),
    RunView: lambda view: (view.id, view.status.updated),
}
"""`hash_funcs` of every cache: weights and images count by digest, whatever their name and folder.

All other arguments (configs, numbers, texts) count by value, which is Streamlit's default.
"""


@st.cache_resource
def run_manager() -> RunManager:
    """The one registry of runs of this process."""
    return RunManager()


@st.cache_resource
def download() -> BackgroundObtain:
    """The one download of the full data set."""
    return BackgroundObtain()


def trainings() -> list[RunView]:
    """The training runs, newest first."""
    return [view for view in run_manager().views() if not view.spec.is_evaluation]


def evaluations() -> list[RunView]:
    """The evaluation runs, newest first."""
    return [view for view in run_manager().views() if view.spec.is_evaluation]


def all_checkpoints() -> tuple[list[CheckpointInfo], list[Broken]]:
    """The checkpoints on disk, and the folders and files that cannot be used."""
    good, broken = checkpoints.list_all()
    return good, [*broken, *(each for info in good for each in _read_results(info)[1])]


def colour_of(info: CheckpointInfo) -> str:
    """An ensemble's colour on every page."""
    return ensemble_colour(info.name, info.card.method)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=BY_CONTENT)
def load_ensemble(info: CheckpointInfo) -> Ensemble:
    """A checkpoint's ensemble; shared by all viewers, so never trained or changed."""
    return checkpoints.load(info)


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=BY_CONTENT)
def load_fast(info: CheckpointInfo) -> Ensemble:
    """The same ensemble compiled for fast attacks; also shared by all viewers."""
    return compiled(load_ensemble(info))


@st.cache_data(
    max_entries=32,
    show_spinner="Classifying every image with every submodel",
    hash_funcs=BY_CONTENT,
)
def correct_everywhere(info: CheckpointInfo, images: ImageSet) -> list[bool]:
    """For each image whether every submodel of a checkpoint classifies it correctly."""
    with torch.no_grad():
        answers = predictions(load_ensemble(info), images)[:-1]
    return (answers == images.labels).all(0).tolist()


def results_of(info: CheckpointInfo) -> list[ResultFile]:
    """A checkpoint's stored results, read again when one of their files has changed."""
    return _read_results(info)[0]


def _read_results(info: CheckpointInfo) -> tuple[list[ResultFile], list[Broken]]:
    return _read_all(info, str(info.folder), results_stamp(info))


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def _read_all(
    info: CheckpointInfo, folder: str, stamp: object
) -> tuple[list[ResultFile], list[Broken]]:
    return read_all(info)  # they name their checkpoint, so the folder counts here, too


def run_metrics(view: RunView) -> list[dict[str, Any]]:
    """A run's metrics rows, read again when its status has changed."""
    return _read_metrics(view)[0]


def damaged_metrics(views: Iterable[RunView]) -> list[Broken]:
    """The files of metrics that cannot be used."""
    files = (each for view in views for each in _read_metrics(view)[1])
    return [each for each in files if each.path.exists()]


@st.cache_resource(max_entries=64, show_spinner=False, hash_funcs=BY_CONTENT)
def _read_metrics(view: RunView) -> tuple[list[dict[str, Any]], list[Broken]]:
    return run_manager().read_metrics(view.id)
