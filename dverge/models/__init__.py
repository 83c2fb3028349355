"""Networks: the report's Conv, ensembles of them, and fast forms of both."""

from dverge.models.conv import CLASS_COUNT, IMAGE_SHAPE, LAYERS, Conv, seeded_conv
from dverge.models.ensemble import Ensemble, mix
from dverge.models.kernels import CompiledConv, compiled
from dverge.models.stacked import StackedConv, bind_parameters, flat_parameters

__all__ = [
    "CLASS_COUNT",
    "IMAGE_SHAPE",
    "LAYERS",
    "CompiledConv",
    "Conv",
    "Ensemble",
    "StackedConv",
    "bind_parameters",
    "compiled",
    "flat_parameters",
    "mix",
    "seeded_conv",
]
