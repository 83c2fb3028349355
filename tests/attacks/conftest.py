"""The usual case in float32 and, where results are compared closely, in float64."""

from __future__ import annotations

import pytest
from torch import Tensor

from dverge.models import Ensemble
from tests.attacks.case import Case


@pytest.fixture
def case(ensemble: Ensemble, images: Tensor, labels: Tensor) -> Case:
    return Case(ensemble, images, labels)


@pytest.fixture
def precise(case: Case) -> Case:
    return case.double()
