"""What all viewers share: images, loaded ensembles, the runs and the download."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st
import torch

from dverge import checkpoints
from dverge.charts.style import ensemble_colour
from dverge.checkpoints import CheckpointInfo
from dverge.data import BackgroundObtain, ImageSet, Split, full_data_available, load
from dverge.evaluation.predictions import predictions
from dverge.evaluation.store import ResultFile, read_all, results_stamp
from dverge.models import Ensemble, compiled
from dverge.runs import RunManager, RunView
from dverge.stored import Broken


@st.cache_resource
def run_manager() -> RunManager:
    """The one registry of runs of this process."""
    return RunManager()


def trainings() -> list[RunView]:
    """The runs that train, newest first."""
    return [view for view in run_manager().views() if not view.spec.is_evaluation]


def evaluations() -> list[RunView]:
    """The runs that measure, newest first."""
    return [view for view in run_manager().views() if view.spec.is_evaluation]


@st.cache_resource
def download() -> BackgroundObtain:
    """The one download of the full data set."""
    return BackgroundObtain()


def gallery_images() -> ImageSet:
    """The test images to choose from: all 10,000, or the bundled sample of 1,000."""
    return load(Split.TEST if full_data_available() else Split.SAMPLE)


def data_in_use() -> str:
    """Which images the pages show, in words."""
    if full_data_available():
        return "CIFAR-10, 10,000 test images"
    return "bundled sample, 1,000 test images"


def all_checkpoints() -> tuple[list[CheckpointInfo], list[Broken]]:
    """The checkpoints there are now, and the folders and files that cannot be used."""
    good, broken = checkpoints.list_all()
    return good, [*broken, *(each for info in good for each in _read_all(info)[1])]


def load_ensemble(info: CheckpointInfo) -> Ensemble:
    """A checkpoint's ensemble; shared by all viewers, so never trained or changed."""
    return _load(info.digest, info)


def load_fast(info: CheckpointInfo) -> Ensemble:
    """The same functions, fast for attacks; shared by all viewers, too."""
    return _load_fast(info.digest, info)


def correct_everywhere(info: CheckpointInfo, images: ImageSet) -> list[bool]:
    """For each image whether every submodel of a checkpoint gets it right."""
    return _correct(info.digest, images.digest, info, images)


def results_of(info: CheckpointInfo) -> list[ResultFile]:
    """What is kept of a checkpoint's evaluations, read again when a file has changed."""
    return _read_all(info)[0]


def run_metrics(view: RunView) -> list[dict[str, Any]]:
    """A run's metrics rows, read again when its status has changed."""
    return _metrics(view.id, view.status.updated)[0]


def damaged_metrics(views: Iterable[RunView]) -> list[Broken]:
    """The files of metrics that cannot be used."""
    files = (each for view in views for each in _metrics(view.id, view.status.updated)[1])
    return [each for each in files if each.path.exists()]


def colour_of(info: CheckpointInfo) -> str:
    """An ensemble's colour on every page."""
    return ensemble_colour(info.name, info.card.method)


@st.cache_resource(max_entries=32, show_spinner=False)
def _load(digest: str, _info: CheckpointInfo) -> Ensemble:
    return checkpoints.load(_info)


@st.cache_resource(max_entries=32, show_spinner=False)
def _load_fast(digest: str, _info: CheckpointInfo) -> Ensemble:
    return compiled(load_ensemble(_info))


@st.cache_data(max_entries=32, show_spinner="Asking every submodel about every image")
def _correct(
    digest: str, images_digest: str, _info: CheckpointInfo, _images: ImageSet
) -> list[bool]:
    with torch.no_grad():
        said = predictions(load_ensemble(_info), _images)[:-1]
    return (said == _images.labels).all(0).tolist()


@st.cache_resource(max_entries=64, show_spinner=False)
def _results(
    folder: str, digest: str, stamp: tuple[tuple[str, int], ...], _info: CheckpointInfo
) -> tuple[list[ResultFile], list[Broken]]:
    return read_all(_info)


def _read_all(info: CheckpointInfo) -> tuple[list[ResultFile], list[Broken]]:
    return _results(str(info.folder), info.digest, results_stamp(info), info)


@st.cache_resource(max_entries=64, show_spinner=False)
def _metrics(run_id: str, updated: float) -> tuple[list[dict[str, Any]], list[Broken]]:
    return run_manager().read_metrics(run_id)
