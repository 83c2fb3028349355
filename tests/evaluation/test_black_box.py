"""The black box: whose surrogates, which images, and what counts, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge import checkpoints
from dverge.attacks import AttackConfig, Norm, image_starts
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.errors import CheckpointError
from dverge.evaluation.blackbox import SURROGATES, BlackBox, lineage
from dverge.evaluation.measurements import Batch, Clean, ProjectedGradient
from dverge.models import Ensemble, seeded_conv
from dverge.results import Result
from tests.evaluation.plain import attacked, correct, models
from tests.evaluation.small import Patch, all_results, evaluation_of, refuse, use_plan

EPS, COUNT = 0.012, 4
SHIPPED = Path(__file__).parents[2] / "checkpoints"


# --- who is a relative ---


def saved(root: Path, name: str, start: str = "", seed: int | None = None) -> CheckpointInfo:
    """A checkpoint of one member, trained from the one with the digest `start`."""
    ensemble = Ensemble([seeded_conv(sum(name.encode()))])
    config = {"start_digest": start} if start else {}
    return checkpoints.save(name, ensemble, method="m", root=root, config=config, seed=seed)


def test_a_lineage_goes_back_to_the_first_start(tmp_path: Path) -> None:
    first = saved(tmp_path, "first")
    second = saved(tmp_path, "second", first.digest)
    third, other = saved(tmp_path, "third", second.digest), saved(tmp_path, "other", first.digest)
    every = {each.digest: each for each in (first, second, third, other)}
    assert lineage(first, every) == {first.digest}
    assert lineage(third, every) == {third.digest, second.digest, first.digest}
    assert lineage(other, every) == {other.digest, first.digest}
    # The missing one still is a relative, but not what lies behind it.
    assert lineage(third, {third.digest: third}) == {third.digest, second.digest}


def test_a_lineage_that_goes_in_a_circle_ends(tmp_path: Path) -> None:
    """No training makes one; a card may be written by hand."""
    one = saved(tmp_path, "one")
    two = saved(tmp_path, "two", one.digest)
    one.card.config["start_digest"] = two.digest
    itself = saved(tmp_path, "itself")
    itself.card.config["start_digest"] = itself.digest
    every = {each.digest: each for each in (one, two, itself)}
    assert lineage(one, every) == lineage(two, every) == {one.digest, two.digest}
    assert lineage(itself, every) == {itself.digest}


def surrogates_of(info: CheckpointInfo) -> list[str]:
    found = BlackBox(EPS).against(info)
    assert isinstance(found, BlackBox)
    return [each.name for each in found.surrogates]


def test_shipped_ensembles_are_attacked_from_the_other_seed(tmp_path: Path) -> None:
    own, other = ([name for name in SURROGATES if name.endswith(s)] for s in ("s0", "s1"))
    assert len(own) == len(other) == 3
    for info in checkpoints.list_all(SHIPPED)[0]:
        expected = own if info.card.seed == 1 else other
        assert surrogates_of(info) == expected, info.name
    imported = saved(tmp_path, "imported")
    assert surrogates_of(imported) == list(SURROGATES)
    vanilla = checkpoints.read(SHIPPED / "vanilla-3xconv-s1").digest
    assert surrogates_of(saved(tmp_path, "tuned", vanilla, seed=5)) == own


def test_a_relative_of_all_surrogates_is_refused(root: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(root))
    base = saved(root, "base")
    for name in SURROGATES[1:]:
        saved(root, name, base.digest)
    with pytest.raises(CheckpointError, match=f"no checkpoint '{SURROGATES[0]}'"):
        BlackBox(EPS).against(base)
    saved(root, SURROGATES[0], base.digest)
    with pytest.raises(CheckpointError, match="all surrogates share a training with checkpoint"):
        BlackBox(EPS).against(base)
    assert surrogates_of(saved(root, "stranger")) == list(SURROGATES)


# --- what is shown, and what counts ---


@pytest.fixture
def chosen(prepared: None, monkeypatch: Patch) -> list[str]:
    """Two surrogates of seed 1, in float64."""
    names = ["vanilla-3xconv-s1", "dverge-3xconv-s1"]
    monkeypatch.setattr("dverge.evaluation.blackbox.SURROGATES", tuple(names))
    use_plan(monkeypatch, lambda seed: [Clean(), BlackBox(EPS, seed)])
    return names


def loss_of(model: Callable[[Tensor], Tensor], label: int) -> Callable[[Tensor], Tensor]:
    return lambda x: -model(x[None]).log_softmax(1)[0, label]


def transferred(name: str, images: Tensor, labels: Tensor, numbers: list[int]) -> list[Tensor]:
    """All attacks on a surrogate by plain loops: PGD and momentum FGSM at members and mixture."""
    start = AttackConfig(Norm.LINF, EPS, EPS / 4, 10, random_start=True)
    momentum = AttackConfig(Norm.LINF, EPS, EPS / 10, 10, momentum=1.0)
    found = []
    for config in (start, momentum):
        first = image_starts(images, numbers, config, 0) if config.random_start else images
        for model in models(checkpoints.load(SHIPPED / name)):
            rows = zip(images, first, labels.tolist(), strict=True)
            each = [attacked(loss_of(model, y), x, x0, config) for x, x0, y in rows]
            found.append(torch.stack(each))
    return found


def test_an_image_counts_if_no_transferred_image_fools(
    root: Path, monkeypatch: Patch, chosen: list[str]
) -> None:
    """The images are those of plain loops, in the ball, and made once for both checkpoints."""
    shown: list[Tensor] = []
    before, made = BlackBox.shown, ProjectedGradient.changed
    crafted: list[tuple[Any, ...]] = []

    def record(self: BlackBox, batch: Batch, attempt: int) -> Tensor:
        shown.append(before(self, batch, attempt))
        return shown[-1]

    def changed(self: ProjectedGradient, *given: Any, **named: Any) -> Tensor:
        crafted.append(given)
        return made(self, *given, **named)

    monkeypatch.setattr(BlackBox, "shown", record)
    monkeypatch.setattr(ProjectedGradient, "changed", changed)
    results = all_results(evaluation_of(root, images=COUNT))
    assert len(crafted) == 16 and len(shown) == 32  # two surrogates in eight ways; two checkpoints
    assert all(a is b for a, b in zip(shown[:16], shown[16:], strict=True))

    images = load(Split.SAMPLE).balanced(COUNT)
    pixels, labels, numbers = images.pixels(), images.labels, images.indices.tolist()
    expected = [each for name in chosen for each in transferred(name, pixels, labels, numbers)]
    for found, each in zip(shown[:16], expected, strict=True):
        torch.testing.assert_close(found, each, rtol=0, atol=1e-9)
        assert (found - pixels).abs().max() <= EPS + 1e-12
        assert 0 <= found.min() <= found.max() <= 1
    for name in ("three", "two"):
        check_worst_case(root / name, results, pixels, labels, expected)


def check_worst_case(
    folder: Path, results: list[Result], pixels: Tensor, labels: Tensor, shown: list[Tensor]
) -> None:
    """Right before and on all of them; and the surrogates are named with their digests."""
    ensemble = checkpoints.load(folder)
    holds = correct(ensemble, pixels, labels)
    single = []
    for each in shown:
        single.append(correct(ensemble, each, labels))
        holds = holds & single[-1]
    rows = [r for r in results if (r.checkpoint, r.attack) == (folder.name, "black-box")]
    *models, random_member = rows
    assert random_member.model == "random-member" and len(models) == len(holds)
    for row, held in zip(models, holds, strict=True):
        assert row.right().equal(held)
        for name in ("vanilla-3xconv-s1", "dverge-3xconv-s1"):
            digest = checkpoints.read(SHIPPED / name).digest
            assert f"{name} {digest[:12]}" in row.parameters["surrogates"].split(", ")
    assert any(int(alone.sum()) > int(holds.sum()) for alone in single)


def test_kept_results_are_found_though_only_rows_name_the_surrogates(
    root: Path, monkeypatch: Patch, chosen: list[str]
) -> None:
    first = all_results(evaluation_of(root, "two", images=2))
    monkeypatch.setattr(BlackBox, "shown", refuse)
    assert all_results(evaluation_of(root, "two", images=2)) == first
