"""Networks: the report's Conv, and ensembles of them."""

from dverge.models.conv import CLASS_COUNT, IMAGE_SHAPE, LAYERS, Conv
from dverge.models.ensemble import Ensemble, mix, seeded_conv
from dverge.models.stacked import StackedConv

__all__ = [
    "CLASS_COUNT",
    "IMAGE_SHAPE",
    "LAYERS",
    "Conv",
    "Ensemble",
    "StackedConv",
    "mix",
    "seeded_conv",
]
