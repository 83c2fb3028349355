"""The tuned recipe's variants: one setting changed in each, and results that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.attacks import Norm, fgsm, pgd
from dverge.charts.reproduction import ablation_frame
from dverge.data import ImageSet, Split, load
from dverge.evaluation.measurements import Clean, Measurement, ProjectedGradient
from dverge.evaluation.protocols import EPS, L2_EPS, PLANS, REPORT_EPS, EvaluationConfig, Protocol
from dverge.evaluation.strong import StrongAttack
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction import ablation
from dverge.reproduction.ablation import SHORT, START, VARIANTS, ablate, config_of, read_ablation
from dverge.results import wilson_interval
from dverge.training import PRESETS, Method

START_FIELDS = {"start", "start_digest"}


def test_each_variant_changes_what_its_title_says_and_nothing_else() -> None:
    tuned = PRESETS[Method.ADVT]["tuned"].to_dict() | SHORT
    for title, changed in VARIANTS.items():
        config = config_of(title).to_dict()
        differs = {k: v for k, v in config.items() if v != tuned[k] and k not in START_FIELDS}
        assert differs == {k: v for k, v in changed.items() if k not in START_FIELDS}
        assert config["start"] == changed.get("start", START)


def test_the_shipped_results_are_of_todays_variants() -> None:
    """Measured by PGD on test images; what is measured now is the strong attack on validation."""
    for variant in read_ablation():
        assert variant.config == config_of(variant.title).to_dict()
        assert [each.attack for each in variant.figures] == [
            "clean",
            "fgsm",
            "pgd-linf",
            "pgd-l2",
        ]
        for each in variant.figures:
            assert (each.n, each.split, each.model) == (1000, Split.TEST, "mixture")
            low, high = wilson_interval(each.accuracy / 100 * each.n, each.n)
            assert (each.ci_low, each.ci_high) == pytest.approx((100 * low, 100 * high))


def test_the_standard_protocol_measures_every_column() -> None:
    known = EvaluationConfig(("any",), Protocol.STANDARD).known_measurements()
    for attack, setting in ablation.COLUMNS.items():
        wanted = {k: v for k, v in setting.items() if k != "victim"}
        fitting = [m for m in known if wanted.items() <= m.parameters().items()]
        assert [m.attack for m in fitting].count(attack) == 1


def quick(seed: int) -> list[Measurement]:
    """Every column, a strong attack of another budget, and one that the ablation leaves out."""
    return [
        Clean(),
        ProjectedGradient("fgsm", fgsm(REPORT_EPS), thorough=True),
        ProjectedGradient("pgd-linf", pgd(Norm.LINF, EPS, steps=50, seed=seed)),
        StrongAttack(Norm.LINF, REPORT_EPS, seed),
        StrongAttack(Norm.LINF, EPS, seed),
        StrongAttack(Norm.L2, L2_EPS, seed),
    ]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Fresh submodels to start from, two variants, and trainings and attacks of a moment."""
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(tmp_path))
    for name in (START, "vanilla-3xconv-s0"):
        members = Ensemble([seeded_conv(seed) for seed in range(3)])
        checkpoints.save(name, members, method="vanilla", root=tmp_path)
    monkeypatch.setitem(
        PLANS, Protocol.STANDARD, replace(PLANS[Protocol.STANDARD], measurements=quick)
    )
    monkeypatch.setattr(ablation, "SHORT", {"epochs": 1, "average_last": 0})
    few = {title: VARIANTS[title] | {"training_images": 64} for title in list(VARIANTS)[:2]}
    monkeypatch.setattr(ablation, "VARIANTS", few)
    yield tmp_path / "ablation.json"


def images(split: Split) -> ImageSet:
    """A few of the bundled ones in the place of training and validation images, and no others."""
    sample = load(Split.SAMPLE)
    few = {Split.TRAIN: sample.subset(torch.arange(64)), Split.VALIDATION: sample.balanced(20)}
    chosen = few[split]
    return replace(chosen, split=split)


def test_it_saves_each_variant_resumes_and_measures_changed_ones_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ablation.VARIANTS
    for title, _ in ablate(small, images):
        if title == second:
            break
    (kept,) = read_ablation(small)
    assert kept.title == first
    assert [each.attack for each in kept.figures] == list(ablation.COLUMNS)
    for each in kept.figures:
        assert (each.model, each.split, each.n) == ("mixture", Split.VALIDATION, 20)
        assert each.held == each.answers == ""
        assert ablation.COLUMNS[each.attack].items() <= each.parameters.items()
    assert {title for title, _ in ablate(small, images)} == {second}
    assert [variant.title for variant in read_ablation(small)] == [first, second]
    assert read_ablation(small)[0] == kept
    assert list(ablate(small, images)) == []
    frame = ablation_frame(read_ablation(small))
    assert list(frame["Recipe"]) == [first, second]
    assert frame["Strong L∞ 8/255"][0].startswith(f"{kept.figures[2].accuracy:.1f} (")
    changed = ablation.VARIANTS | {second: {"training_images": 64, "momentum": 0.5}}
    monkeypatch.setattr(ablation, "VARIANTS", changed)
    assert {title for title, _ in ablate(small, images)} == {second}
