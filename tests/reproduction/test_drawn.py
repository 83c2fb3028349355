"""The report's mean over draws against a loop over the drawn images."""

from __future__ import annotations

import pytest
import torch

from dverge.data import Split
from dverge.reproduction.drawn import drawn_mean
from dverge.results import result_of


def test_it_is_the_mean_accuracy_of_ten_draws_of_256() -> None:
    right = torch.rand(1024, generator=torch.Generator().manual_seed(3)) < 0.6
    generator, total = torch.Generator().manual_seed(0), 0.0
    for _ in range(10):
        drawn = torch.randperm(1024, generator=generator)[:256]
        assert len(set(drawn.tolist())) == 256
        total += sum(right[i].item() for i in drawn) / 256
    result = result_of(right, "mixture", "clean", Split.VALIDATION)
    assert drawn_mean(result) == pytest.approx(100 * total / 10)
    assert abs(drawn_mean(result) - result.accuracy) < 4 * 100 * (0.24 / 2560) ** 0.5
    shares = result_of(right.double(), "random-member", "clean", Split.VALIDATION)
    with pytest.raises(ValueError, match="not kept on which images"):
        drawn_mean(shares)
