"""APGD's steps, against those of AutoAttack's own code."""

from __future__ import annotations

import pytest
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor

from dverge.attacks import AttackConfig, Norm
from dverge.attacks.config import MIXTURE
from dverge.attacks.gradient import value_and_gradient, victim_objective
from dverge.attacks.stepping import AdaptiveSteps
from dverge.models import Ensemble

NAMES = {Norm.LINF: "Linf", Norm.L2: "L2"}


@pytest.mark.parametrize("steps", [5, 40])
@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, 0.03), (Norm.L2, 0.8)])
def test_the_best_iterates_are_autoattacks(
    norm: Norm, eps: float, steps: int, ensemble: Ensemble, images: Tensor, labels: Tensor
) -> None:
    network, start = ensemble.double(), images.double()
    reference = APGDAttack(network, n_iter=steps, norm=NAMES[norm], eps=eps, device="cpu")
    reference.init_hyperparam(start)
    expected = reference.attack_single_run(start, labels, x_init=start)[0]
    config = AttackConfig(norm, eps, 0.0, steps)
    adaptive, x = AdaptiveSteps(start, config), start
    objective = victim_objective(network, labels, config, MIXTURE)
    for _ in range(steps + 1):  # of the last move, only where it begins counts
        x = adaptive.next(x, *value_and_gradient(objective, x))
    assert adaptive.best.allclose(expected, rtol=0, atol=1e-7)  # its step size is a float32
    assert not expected.allclose(start, rtol=0, atol=eps / 100)


def test_images_can_be_left_out(ensemble: Ensemble, images: Tensor, labels: Tensor) -> None:
    """The others go on as they would have."""
    network, start = ensemble.double(), images.double()
    config, kept = AttackConfig(Norm.LINF, 0.03, 0.0, 20), [1, 4, 6]
    whole, part = AdaptiveSteps(start, config), AdaptiveSteps(start, config)
    x, y, rows = start, start, list(range(len(start)))
    for number in range(20):
        if number == 7:
            y, rows = y[kept], kept
            part.keep(labels.new_tensor(kept))
        for_all = victim_objective(network, labels, config, MIXTURE)
        for_some = victim_objective(network, labels[rows], config, MIXTURE)
        x = whole.next(x, *value_and_gradient(for_all, x))
        y = part.next(y, *value_and_gradient(for_some, y))
    assert y.allclose(x[kept], rtol=0, atol=1e-9)
    assert part.best.allclose(whole.best[kept], rtol=0, atol=1e-9)
