"""Random noise of the attack's size, counted by a slow loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dverge.attacks import AttackConfig, Norm
from dverge.errors import ConfigError
from dverge.exploration.examine import Examination, examine
from dverge.exploration.noise import noise_test, unit_noise
from dverge.models import Ensemble
from dverge.seeds import derive_seed

CONFIGS = [AttackConfig(Norm.LINF, 0.05, 0.02, 4), AttackConfig(Norm.L2, 2.0, 0.8, 4)]


@pytest.fixture(scope="module", params=CONFIGS, ids=["linf", "l2"])
def examination(
    request: pytest.FixtureRequest, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> Examination:
    return examine(ensemble, images[1:2], int(labels[1]), request.param)


def length(delta: Tensor, norm: Norm) -> float:
    return float(delta.abs().max() if norm is Norm.LINF else delta.norm())


def test_fooled_is_the_count_of_a_slow_loop(ensemble: Ensemble, examination: Examination) -> None:
    result = noise_test(ensemble, examination, draws=40, seed=7)
    counts, draws = [0] * 4, unit_noise(40, examination.config.norm, derive_seed(7, "noise"))
    for i, noise in enumerate(draws):
        image = (examination.clean + result.size * noise.float()).clamp(0, 1)
        if i == 0:
            torch.testing.assert_close(result.image, image)
        with torch.no_grad():
            each = torch.stack([member(image).softmax(1) for member in ensemble.members])
        predicted = [*each.argmax(2).flatten().tolist(), int(each.mean(0).argmax())]
        counts = [n + (p != examination.label) for n, p in zip(counts, predicted, strict=True)]
    assert result.fooled == tuple(counts)
    assert any(counts) and result.draws == 40


def test_beside_a_targeted_attack_noise_must_reach_the_target(
    ensemble: Ensemble, examination: Examination
) -> None:
    away = noise_test(ensemble, examination, draws=200)
    reached = torch.zeros(4, dtype=torch.long)
    for target in range(10):
        if target != examination.label:
            beside = replace(examination, target=target)
            reached += torch.tensor(noise_test(ensemble, beside, draws=200).fooled)
    assert reached.tolist() == list(away.fooled)  # each fooled answer is one target


def test_noise_has_the_attacks_size(ensemble: Ensemble, examination: Examination) -> None:
    norm = examination.config.norm
    size = length(examination.adversarial - examination.clean, norm)
    result = noise_test(ensemble, examination, draws=3)
    assert result.size == pytest.approx(size)
    delta = result.image - examination.clean
    assert length(delta, norm) <= size * 1.0001
    if norm is Norm.LINF:
        free = (examination.clean > 0.06) & (examination.clean < 0.94)  # what [0, 1] cannot clip
        expected = torch.full_like(delta[free], size)
        torch.testing.assert_close(delta[free].abs(), expected, atol=1e-6, rtol=0)
        assert 0.45 < (delta[free] > 0).double().mean() < 0.55


@pytest.mark.parametrize("norm", list(Norm))
def test_unit_noise_has_length_one_and_depends_on_the_seed(norm: Norm) -> None:
    noise = unit_noise(5, norm, 1)
    assert [length(each, norm) for each in noise] == pytest.approx([1] * 5)
    assert not noise[0].equal(noise[1])
    assert unit_noise(5, norm, 1).equal(noise)
    assert not unit_noise(5, norm, 2).equal(noise)


@pytest.mark.parametrize("draws", [0, 10_001, 1.5])
def test_draws_out_of_range(ensemble: Ensemble, examination: Examination, draws: Any) -> None:
    with pytest.raises(ConfigError, match="draws is"):
        noise_test(ensemble, examination, draws)
