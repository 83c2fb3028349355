"""Random noise of the attack's size, counted by a slow loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm
from dverge.errors import ConfigError
from dverge.exploration.examine import Examination, examine
from dverge.exploration.noise import _unit_noise, noise_test
from dverge.models import Ensemble

LINF = AttackConfig(Norm.LINF, 0.05, 0.02, 4)
L2 = AttackConfig(Norm.L2, 2.0, 0.8, 4)


def outcome_of(ensemble: Ensemble, images: Tensor, labels: Tensor, c: AttackConfig) -> Examination:
    return examine(ensemble, images[2:3], int(labels[2]), c)


@pytest.mark.parametrize("config", [LINF, L2], ids=["linf", "l2"])
def test_fooled_is_what_a_slow_loop_counts(
    ensemble: Ensemble, images: Tensor, labels: Tensor, config: AttackConfig
) -> None:
    outcome = outcome_of(ensemble, images, labels, config)
    found = noise_test(ensemble, outcome, draws=40, seed=7)
    counts = [0] * 4
    for noise in _unit_noise(40, config.norm, 7):
        image = (images[2:3] + found.size * noise.float()).clamp(0, 1)
        with torch.no_grad():
            each = torch.stack([member(image).softmax(1) for member in ensemble.members])
        said = [*each.argmax(2).flatten().tolist(), int(each.mean(0).argmax())]
        counts = [n + (s != int(labels[2])) for n, s in zip(counts, said, strict=True)]
    assert found.fooled == tuple(counts)
    assert any(counts) and found.draws == 40


def test_noise_has_the_attacks_own_size(ensemble: Ensemble, images: Tensor, labels: Tensor) -> None:
    for config, size_of in ((LINF, lambda d: d.abs().max()), (L2, lambda d: d.norm())):
        outcome = outcome_of(ensemble, images, labels, config)
        size = float(size_of(outcome.adversarial - outcome.clean))
        found = noise_test(ensemble, outcome, draws=3)
        assert found.size == pytest.approx(size)
        moved = found.image - outcome.clean
        assert float(size_of(moved)) <= size * 1.0001
        free = (outcome.clean > 0.06) & (outcome.clean < 0.94)  # what the box cannot clip
        if config is LINF:
            torch.testing.assert_close(
                moved[free].abs(), torch.full_like(moved[free], size), atol=1e-6, rtol=0
            )
            assert 0.45 < (moved[free] > 0).double().mean() < 0.55


@pytest.mark.parametrize("norm", list(Norm))
def test_unit_noise_is_of_length_one_and_of_the_seed(norm: Norm) -> None:
    noise = _unit_noise(5, norm, 1).flatten(1)
    length = noise.abs().amax(1) if norm is Norm.LINF else noise.norm(dim=1)
    torch.testing.assert_close(length, torch.ones(5, dtype=torch.float64))
    assert not noise[0].equal(noise[1])
    assert _unit_noise(5, norm, 1).flatten(1).equal(noise)
    assert not _unit_noise(5, norm, 2).flatten(1).equal(noise)


@pytest.mark.parametrize("draws", [0, 10_001, 1.5])
def test_draws_out_of_range(ensemble: Ensemble, images: Tensor, draws: int) -> None:
    with pytest.raises(ConfigError, match="draws is"):
        noise_test(ensemble, examine(ensemble, images[:1], 3, LINF), draws)
