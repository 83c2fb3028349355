"""The decorators that compile the kernels, and the cache of compiled kernels on disk.

Numba caches a compiled function for as long as the file that defines it is unchanged. A kernel
also contains code of the files beside it, so this cache is valid for as long as all of them are
unchanged: a change in any of them compiles the kernels again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

subroutine = njit(nogil=True)
"""Decorates a function that only kernels call: it is compiled as a part of each of them."""


def kernel(function: Callable[..., Any]) -> Any:
    """Decorate a function that Python calls: compiled at its first call, then cached on disk."""
    dispatcher: Any = njit(nogil=True)(function)
    dispatcher._cache = _KernelCache(function)  # what njit(cache=True) does, with our cache
    return dispatcher


class _KernelCache(FunctionCache):
    """Numba's cache of one function, with another stamp to tell whether its files are current."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            self.cache_path, self._impl.filename_base, source_stamp=_stamp()
        )


def sources_digest() -> str:
    """The SHA-256 (hex) of the names and contents of all files in this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@cache
def _stamp() -> str:
    """The digest as it was when the first kernel was imported: the files are read once."""
    return sources_digest()
