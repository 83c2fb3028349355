"""DVERGE: ensembles with diversified vulnerabilities, their training, attacks and measurement."""

import os

# Before torch loads OpenMP: its threads then sleep at a barrier instead of spinning. Spinning
# beside any other busy process (a training beside the lab) makes small batches up to 70 times
# slower, because the thread that is waited for has no core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
