"""DVERGE: ensembles with diversified vulnerabilities, their training, attacks and measurement."""

import os

# Before torch loads OpenMP: how long a thread spins at a barrier before it sleeps. By default it
# spins so long that a busy neighbour (a training beside the lab) takes its partner's core: on two
# cores a training batch then takes 200 ms and more instead of 35. Not spinning at all doubles
# the time on an idle machine (18 ms instead of 10); this count is near the best of both.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
