"""What results belong to, and what has changed in a protocol since they were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.evaluation.measurements import Clean
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.store import Images, ResultFile, add_results, all_results, why_expired
from dverge.models import Ensemble, seeded_conv
from dverge.results import result_of


def test_a_file_belongs_to_the_weights_not_to_the_name(tmp_path: Path) -> None:
    images = load(Split.SAMPLE).balanced(20)
    config = EvaluationConfig(("a",), Protocol.CURVE, Split.SAMPLE, 20, seed=9)

    def file_of(name: str, seed: int) -> ResultFile:
        ensemble = Ensemble([seeded_conv(seed)])
        info = checkpoints.save(name, ensemble, method="vanilla", root=tmp_path)
        return ResultFile.of(info, config, images)

    first, twin, other = file_of("a", 0), file_of("b", 0), file_of("c", 1)
    assert first == twin != other
    assert (first.n, first.data, first.seed) == (20, images.digest, 9)
    assert (first.version, first.results) == (PLANS[Protocol.CURVE].version, ())


@pytest.fixture
def saved(tmp_path: Path, ensemble: Ensemble) -> CheckpointInfo:
    return checkpoints.save("good", ensemble, method="vanilla", root=tmp_path)


@pytest.fixture
def file(saved: CheckpointInfo) -> ResultFile:
    """The empty file of the curve of the version before."""
    version = PLANS[Protocol.CURVE].version - 1
    about = (Protocol.CURVE, version, Split.SAMPLE, 8, "ab" * 32, 0)
    return ResultFile(saved.digest, *about)


def keep(info: CheckpointInfo, file: ResultFile) -> None:
    clean = result_of(torch.ones(8).bool(), "mixture", Clean.attack, file.split)
    add_results(info, file, [replace(clean, n=file.n)])


def test_results_of_an_earlier_version_say_what_the_new_one_changed(
    saved: CheckpointInfo, file: ResultFile
) -> None:
    def why(protocol: Protocol = Protocol.CURVE, images: Images = file.images) -> str:
        return why_expired(saved, protocol, images)

    assert why() == ""
    keep(saved, file)
    assert all_results(saved) == []
    assert why() == "the strong attack has taken the place of PGD"
    assert why(Protocol.SANITY) == why(images=replace(file.images, data="cd" * 32)) == ""
    (saved.folder / "evaluations" / "damaged.json").write_text("{")
    assert why() != ""
    keep(saved, replace(file, version=file.version + 1))  # measured anew
    assert why() == ""


@pytest.mark.parametrize("change", [{"weights": "cd" * 32}, {"version": 99}])
def test_other_weights_and_newer_results_have_not_expired(
    saved: CheckpointInfo, file: ResultFile, change: dict[str, str | int]
) -> None:
    """The newer ones are of a later release."""
    keep(saved, replace(file, **change))  # type: ignore[arg-type]
    assert why_expired(saved, Protocol.CURVE, file.images) == ""


@pytest.mark.parametrize("protocol", Protocol)
def test_a_protocol_of_a_later_version_says_what_changed(protocol: Protocol) -> None:
    plan = PLANS[protocol]
    assert bool(plan.change) is (plan.version > 1)
