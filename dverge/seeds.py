"""Seeds of random generators, each derived from what the numbers are for."""

from __future__ import annotations

import hashlib
from typing import Any


def derive_seed(*parts: Any) -> int:
    """A seed from 0 to 2^63 - 1 that depends on all the parts, by SHA-256 of their repr."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
