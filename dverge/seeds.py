"""Seeds of random generators, derived from the purpose of their numbers."""

from __future__ import annotations

import hashlib
from typing import Any


def derive_seed(*parts: Any) -> int:
    """A seed from 0 to 2^63 - 1 that depends on all parts, by the SHA-256 of their repr."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
