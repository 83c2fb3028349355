"""Kept figures measured again: they come back, and what was altered is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dverge import checkpoints
from dverge.attacks import fgsm
from dverge.checkpoints import CheckpointInfo
from dverge.data import ImageSet, Split, load
from dverge.errors import CheckpointError, DataError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Clean, Measurement, ProjectedGradient
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction.verification import Verification, verify

IMAGES = 40


def short(seed: int) -> list[Measurement]:
    return [Clean(), ProjectedGradient("fgsm", fgsm(0.03), thorough=True)]


@pytest.fixture(autouse=True)
def short_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(PLANS[Protocol.STANDARD], measurements=short)
    monkeypatch.setitem(PLANS, Protocol.STANDARD, plan)


def images(split: Split) -> ImageSet:
    """Sixty of the sample, of every split."""
    sample = load(Split.SAMPLE).balanced(60)
    return ImageSet(split, sample.images, sample.labels, sample.indices)


def nowhere(split: Split) -> ImageSet:
    raise DataError("not here")


@pytest.fixture
def info(tmp_path: Path) -> CheckpointInfo:
    """A checkpoint measured under both protocols on 40 images."""
    ensemble = Ensemble([seeded_conv(seed) for seed in range(3)])
    info = checkpoints.save("mine", ensemble, method="vanilla", root=tmp_path)
    for protocol, split in ((Protocol.STANDARD, Split.TEST), (Protocol.REPORT, Split.VALIDATION)):
        config = EvaluationConfig(("mine",), protocol, split, IMAGES)
        evaluation = Evaluation(config, images, tmp_path)
        assert list(evaluation.run()) and not evaluation.failures
    return info


def verified(
    info: CheckpointInfo, most: int = 20, source: Callable[[Split], ImageSet] = images
) -> dict[Protocol, Verification]:
    news = list(verify(info, most, source))
    assert all(0 <= share <= 1 for share in news if isinstance(share, float))
    return {each.protocol: each for each in news if isinstance(each, Verification)}


def test_what_was_measured_comes_back(info: CheckpointInfo) -> None:
    before = {file: file.read_bytes() for file in info.folder.rglob("*") if file.is_file()}
    found = verified(info)
    report, standard = found[Protocol.REPORT], found[Protocol.STANDARD]
    # four models, clean and under three attacks, on all images
    assert (report.images, report.outcomes, report.turned) == (IMAGES, 4 * 4 * IMAGES, 0)
    # clean: four models; fgsm: three members and the mixture in five ways
    assert (standard.images, standard.outcomes, standard.turned) == (20, (4 + 3 + 5) * 20, 0)
    assert report.holds and standard.holds
    assert str(standard) == (
        "mine, protocol standard, 20 test images: 0 of 240 outcomes differ, on 0 images; the "
        "shipped figures come back"
    )
    assert before == {file: file.read_bytes() for file in info.folder.rglob("*") if file.is_file()}


def test_no_more_than_there_were(info: CheckpointInfo) -> None:
    assert verified(info, most=500)[Protocol.STANDARD].images == IMAGES


def alter(info: CheckpointInfo, protocol: Protocol) -> None:
    """Let one model's kept outcomes of one attack be all wrong."""
    (file,) = (info.folder / "evaluations").glob(f"{protocol}-*")
    value = json.loads(file.read_text())
    row = value["finished"][0]["rows"][3]
    assert row["accuracy"] > 0
    row["held"] = "AAAAAAA="
    file.write_text(json.dumps(value))


def test_altered_figures_are_seen(info: CheckpointInfo) -> None:
    right = round(verified_right(info))
    alter(info, Protocol.REPORT)
    found = verified(info)
    report = found[Protocol.REPORT]
    assert (report.turned, report.turned_images) == (right, right) and right > 0
    assert not Verification("x", Protocol.REPORT, Split.TEST, 40, 100, 2, 2).holds
    assert Verification("x", Protocol.REPORT, Split.TEST, 40, 100, 1, 1).holds
    assert found[Protocol.STANDARD].holds
    assert "THEY DIFFER" in str(replace(report, outcomes=10))


def verified_right(info: CheckpointInfo) -> float:
    """Images that the mixture is right on without attack, counted anew."""
    ensemble, chosen = checkpoints.load(info), images(Split.VALIDATION).balanced(IMAGES)
    return float((ensemble(chosen.pixels()).argmax(1) == chosen.labels).sum())


def test_other_weights_under_the_same_card_are_refused(info: CheckpointInfo) -> None:
    file = info.folder / "member-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"member-2\.safetensors does not match"):
        verified(info)


def test_without_the_images_it_says_so_and_nothing_differs(info: CheckpointInfo) -> None:
    found = verified(info, source=nowhere)
    for each in found.values():
        assert each.holds and each.outcomes == 0
        assert "not measured again" in str(each) and "are not on this machine" in str(each)


def test_a_thousand_test_images_are_at_hand_without_the_full_data(tmp_path: Path) -> None:
    """The sample stands in for test images, as it does where they are measured first."""

    def sample_alone(split: Split) -> ImageSet:
        if split is not Split.SAMPLE:
            raise DataError("not here")
        return images(split)

    ensemble = Ensemble([seeded_conv(1)])
    info = checkpoints.save("one", ensemble, method="vanilla", root=tmp_path)
    config = EvaluationConfig(("one",), Protocol.STANDARD, Split.TEST, IMAGES)
    list(Evaluation(config, images, tmp_path).run())
    standard = verified(info, source=sample_alone)[Protocol.STANDARD]
    assert (standard.images, standard.turned) == (20, 0) and standard.outcomes > 0


def test_images_of_the_same_number_but_another_content_are_not_taken(info: CheckpointInfo) -> None:
    def others(split: Split) -> ImageSet:
        return load(Split.SAMPLE).subset(slice(500, 700))

    assert all(each.skipped for each in verified(info, source=others).values())
