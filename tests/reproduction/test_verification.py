"""Kept results measured again: they come back, and what was altered is seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.attacks import fgsm
from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError, DataError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Clean, ProjectedGradient
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction.verification import Verification, verify

IMAGES = 40


def images(split: Split) -> ImageSet:
    """Sixty of the sample, for every split."""
    sample = load(Split.SAMPLE).balanced(60)
    return ImageSet(split, sample.images, sample.labels, sample.indices)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckpointInfo]:
    """A checkpoint measured on 40 images, under the report's and a short standard protocol."""
    root = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        short = replace(
            PLANS[Protocol.STANDARD],
            measurements=lambda seed: [
                Clean(),
                ProjectedGradient("fgsm", fgsm(0.03), thorough=True),
            ],
        )
        patch.setitem(PLANS, Protocol.STANDARD, short)
        ensemble = Ensemble([seeded_conv(seed) for seed in range(3)])
        info = checkpoints.save("mine", ensemble, method="vanilla", root=root)
        for protocol, split in (("standard", Split.TEST), ("report", Split.VALIDATION)):
            config = EvaluationConfig(("mine",), Protocol(protocol), split, IMAGES)
            evaluation = Evaluation(config, images, root)
            assert list(evaluation.run()) and not evaluation.failures
        yield info


@pytest.fixture
def info(measured: CheckpointInfo, tmp_path: Path) -> CheckpointInfo:
    """A copy of it that a test may alter."""
    return checkpoints.read(Path(shutil.copytree(measured.folder, tmp_path / "mine")))


def verified(
    info: CheckpointInfo, most: int = 20, load_images: Callable[[Split], ImageSet] = images
) -> dict[Protocol, Verification]:
    news = list(verify(info, most, load_images))
    assert all(0 <= share <= 1 for share in news if isinstance(share, float))
    return {each.protocol: each for each in news if isinstance(each, Verification)}


def test_results_come_back_and_the_folder_is_left_alone(info: CheckpointInfo) -> None:
    before = {file: file.read_bytes() for file in info.folder.rglob("*") if file.is_file()}
    both = verified(info)
    report, standard = both[Protocol.REPORT], both[Protocol.STANDARD]
    # four models, clean and under three attacks, on all images
    assert (report.images, report.outcomes, report.turned) == (IMAGES, 4 * 4 * IMAGES, 0)
    # clean: four models; FGSM: three members and the mixture in five ways
    assert (standard.images, standard.outcomes, standard.turned) == (20, (4 + 3 + 5) * 20, 0)
    assert report.holds and standard.holds
    assert str(standard) == (
        "mine, protocol standard, 20 test images: 0 of 240 outcomes differ, on 0 images; the "
        "shipped figures are reproduced"
    )
    assert before == {file: file.read_bytes() for file in info.folder.rglob("*") if file.is_file()}


def test_no_more_images_than_there_were(info: CheckpointInfo) -> None:
    assert verified(info, most=500)[Protocol.STANDARD].images == IMAGES


def test_altered_results_are_seen(info: CheckpointInfo) -> None:
    """All of one model's kept outcomes of one attack are made wrong."""
    (file,) = (info.folder / "evaluations").glob("report-*")
    value = json.loads(file.read_text())
    value["finished"][0]["rows"][3]["held"] = "AAAAAAA="
    file.write_text(json.dumps(value))
    ensemble, chosen = checkpoints.load(info), images(Split.VALIDATION).balanced(IMAGES)
    correct = int((ensemble(chosen.pixels()).argmax(1) == chosen.labels).sum())
    both = verified(info)
    report = both[Protocol.REPORT]
    assert (report.turned, report.turned_images) == (correct, correct) and correct > 0
    assert both[Protocol.STANDARD].holds
    assert "THEY DIFFER" in str(replace(report, outcomes=10))


@pytest.mark.parametrize(("turned", "holds"), [(1, True), (2, False)])
def test_one_outcome_in_a_hundred_may_differ(turned: int, holds: bool) -> None:
    verification = Verification("x", Protocol.REPORT, Split.TEST, 40, 100, turned, turned)
    assert verification.holds is holds


def test_other_weights_under_the_same_card_are_refused(info: CheckpointInfo) -> None:
    file = info.folder / "member-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"member-2\.safetensors does not match"):
        verified(info)


def nowhere(split: Split) -> ImageSet:
    raise DataError("not here")


def others(split: Split) -> ImageSet:
    """As many images, with another content."""
    return load(Split.SAMPLE).subset(slice(500, 700))


@pytest.mark.parametrize("load_images", [nowhere, others])
def test_without_the_same_images_nothing_is_measured(
    measured: CheckpointInfo, load_images: Callable[[Split], ImageSet]
) -> None:
    for each in verified(measured, load_images=load_images).values():
        assert each.holds and each.outcomes == 0
        assert "not measured again" in str(each) and "are not on this machine" in str(each)


def test_the_sample_holds_test_images_without_the_full_data(measured: CheckpointInfo) -> None:
    def sample_alone(split: Split) -> ImageSet:
        return images(split) if split is Split.SAMPLE else nowhere(split)

    standard = verified(measured, load_images=sample_alone)[Protocol.STANDARD]
    assert (standard.images, standard.turned) == (20, 0) and standard.outcomes > 0
