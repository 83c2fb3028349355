"""The tuned recipe's variants: one thing changed in each, and figures that belong to the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.charts.reproduction import ablation_frame
from dverge.data import ImageSet, Split, load
from dverge.models import Ensemble, seeded_conv
from dverge.reproduction import ablation
from dverge.reproduction.ablation import (
    SHORT,
    START,
    VARIANTS,
    ablate,
    config_of,
    read_ablation,
)
from dverge.results import wilson_interval
from dverge.training import PRESETS, Method

START_FIELDS = {"start", "start_digest"}


def test_each_variant_changes_what_its_title_says_and_nothing_else() -> None:
    tuned = PRESETS[Method.ADVT]["tuned"].to_dict() | SHORT
    for title, changed in VARIANTS.items():
        config = config_of(title).to_dict()
        assert {k: v for k, v in config.items() if v != tuned[k] and k not in START_FIELDS} == {
            k: v for k, v in changed.items() if k not in START_FIELDS
        }
        assert config["start"] == changed.get("start", START)


def test_the_shipped_figures_are_of_todays_variants() -> None:
    for variant in read_ablation():
        assert variant.config == config_of(variant.title).to_dict()
        assert [each.attack for each in variant.figures] == list(ablation.COLUMNS)
        for each in variant.figures:
            assert (each.n, each.split, each.model) == (1000, Split.TEST, "mixture")
            low, high = wilson_interval(each.accuracy / 100 * each.n, each.n)
            assert (each.ci_low, each.ci_high) == pytest.approx((100 * low, 100 * high))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fresh submodels to start from, two variants, and a training of a moment."""
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(tmp_path))
    for name in (START, "vanilla-3xconv-s0"):
        members = Ensemble([seeded_conv(seed) for seed in range(3)])
        checkpoints.save(name, members, method="vanilla", root=tmp_path)
    monkeypatch.setattr(ablation, "SHORT", {"epochs": 1, "average_last": 0})
    monkeypatch.setattr(ablation, "IMAGES", 20)
    few = {title: VARIANTS[title] | {"training_images": 64} for title in list(VARIANTS)[:2]}
    monkeypatch.setattr(ablation, "VARIANTS", few)
    return tmp_path


def images(split: Split) -> ImageSet:
    """A few of the bundled ones, in the place of each part."""
    sample = load(Split.SAMPLE)
    chosen = sample.subset(torch.arange(64)) if split is Split.TRAIN else sample.balanced(20)
    return replace(chosen, split=split)


def test_it_is_kept_as_it_goes_and_goes_on(small: Path) -> None:
    file = small / "ablation.json"
    first, second = ablation.VARIANTS
    for title, _ in ablate(file, images):
        if title == second:
            break
    (kept,) = read_ablation(file)
    assert kept.title == first and not kept.figures[0].held
    seen = {title for title, _ in ablate(file, images)}
    assert seen == {second}
    assert [variant.title for variant in read_ablation(file)] == [first, second]
    assert read_ablation(file)[0] == kept
    assert list(ablate(file, images)) == []
    frame = ablation_frame(read_ablation(file))
    assert list(frame["Recipe"]) == [first, second]
    shown = kept.figures[2]
    assert frame["PGD L∞ 8/255, 50 steps"][0].startswith(f"{shown.accuracy:.1f} (")


def test_other_settings_are_measured_anew(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small / "ablation.json"
    assert list(ablate(file, images))
    _first, second = ablation.VARIANTS
    changed = ablation.VARIANTS | {second: {"training_images": 64, "momentum": 0.5}}
    monkeypatch.setattr(ablation, "VARIANTS", changed)
    assert {title for title, _ in ablate(file, images)} == {second}
