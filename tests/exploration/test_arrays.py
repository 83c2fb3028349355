"""Arrays of adversarial images: what is written is what is read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dverge.attacks import AnyConfig, AttackConfig, Norm, StrongConfig, Victim
from dverge.exploration.arrays import examination_npz, smallest_npz
from dverge.exploration.examine import examine
from dverge.exploration.smallest import SmallestEps
from dverge.models import Ensemble


def read(file: bytes) -> dict[str, Any]:
    return dict(np.load(io.BytesIO(file)))  # which unpickles nothing


@pytest.mark.parametrize(
    ("config", "target", "attack"),
    [
        (AttackConfig(Norm.L2, 0.3, 0.1, 3, True, targeted=True, seed=5), 7, "pgd-l2"),
        (StrongConfig(Norm.LINF, 0.01, seed=5), None, "strong-linf"),
    ],
)
def test_an_attacked_image(
    config: AnyConfig, target: int | None, attack: str, ensemble: Ensemble, images: Tensor
) -> None:
    outcome = examine(ensemble, images[:1], 3, config, Victim(1), target)
    arrays = read(examination_npz(outcome))
    assert arrays["clean"].dtype == arrays["adversarial"].dtype == np.float32
    assert torch.from_numpy(arrays["clean"]).equal(images[0])
    assert torch.from_numpy(arrays["adversarial"]).equal(outcome.adversarial[0])
    assert (arrays["label"], arrays["target"]) == (3, -1 if target is None else target)
    assert (arrays["attack"], arrays["norm"]) == (attack, config.norm)
    assert (arrays["eps"], arrays["seed"], arrays["victim"]) == (config.eps, 5, "member-2")


def test_images_at_the_smallest_eps(images: Tensor) -> None:
    config = AttackConfig(Norm.LINF, 0.1, 0.1, 1)
    found = [
        SmallestEps("member-1", 0.02, 0.01, images[:1], True, 4),
        SmallestEps("member-2", None, 0.5, images[1:2], None, 4),
    ]
    arrays = read(smallest_npz({"a": found, "b": found[:1]}, config, 3, 4))
    expected = torch.stack([images[0], images[1], images[0]])
    assert torch.from_numpy(arrays["adversarial"]).equal(expected)
    np.testing.assert_array_equal(arrays["eps"], [0.02, np.nan, 0.02])
    assert arrays["survives_8_bits"].tolist() == [True, False, True]
    assert arrays["ensemble"].tolist() == ["a", "a", "b"]
    assert arrays["model"].tolist() == ["member-1", "member-2", "member-1"]
    assert (arrays["label"], arrays["target"], arrays["attack"]) == (3, 4, "fgsm")
