"""Everything compiled: Conv for many images at once on a CPU. Skip this folder at first reading.

On a CPU, PyTorch leaves most lanes of a vector register empty at this network's 3 to 16 channels
and spends more time on starting operations than on running them. Here a lane holds an image, so
no lane is ever empty, and a whole attack or training step of a block of images is one call that
does not hold the interpreter's lock. `python -m dverge bench` measures the gain.

Read it in this order: layout.py, network.py (forward and backward), learning.py and attacks.py;
simd.py has the vector operations, compiling.py the cache of compiled code, workers.py the threads,
and compiled_conv.py the stand-in for a Conv that is attacked.
"""

from dverge.models.kernels.attacks import attack, distill
from dverge.models.kernels.compiled_conv import CompiledConv, compiled
from dverge.models.kernels.layout import (
    PARAMETERS,
    UNKNOWN,
    Array,
    from_lanes,
    to_lanes,
    workspace,
)
from dverge.models.kernels.learning import descend, learn, shares
from dverge.models.kernels.simd import LANES
from dverge.models.kernels.workers import WorkerPool

__all__ = [
    "LANES",
    "PARAMETERS",
    "UNKNOWN",
    "Array",
    "CompiledConv",
    "WorkerPool",
    "attack",
    "compiled",
    "descend",
    "distill",
    "from_lanes",
    "learn",
    "shares",
    "to_lanes",
    "workspace",
]
