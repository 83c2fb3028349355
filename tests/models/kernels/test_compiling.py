"""The cache of compiled kernels, in copies of the package that other processes import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dverge.models.kernels import compiling

KERNELS = Path(compiling.__file__).parent
DOUBLE = """
from dverge.models.kernels.compiling import kernel
from dverge.models.kernels.simd import LANES, add, load, store

@kernel
def double(values):
    store(values, 0, add(load(values, 0), load(values, 0)))
"""
PROGRAM = """
import json
import numpy as np
from dverge.models.kernels.double import LANES, double

values = np.full(LANES, 3.0)
double(values)
stats = double.stats
print(json.dumps([values[0], sum(stats.cache_hits.values()), stats.cache_path]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The compiler and the vector operations, with one kernel; nothing else, so no torch."""
    folder = tmp_path / "dverge" / "models" / "kernels"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent, folder.parent.parent):
        (each / "__init__.py").touch()
    for name in ("compiling.py", "simd.py"):
        shutil.copy(KERNELS / name, folder)
    (folder / "double.py").write_text(DOUBLE)
    return folder


def run(package: Path) -> list[Any]:
    """In a new process: 3 doubled by the kernel, loads from the cache, and the cache's folder."""
    root = package.parents[2]
    environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "PYTHONPATH": str(root)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.check_output(command, cwd=root, env=environment, text=True)
    return json.loads(output)


@pytest.mark.skipif(sys.platform == "win32", reason="the user's cache folder is set by XDG")
@pytest.mark.parametrize("writable", [True, False])
def test_a_kernel_is_compiled_again_only_if_a_kernel_file_changes(
    package: Path, writable: bool
) -> None:
    folder = package / "__pycache__"
    if not writable:
        folder.touch()  # a file, so that not even root can write a cache into it
        folder = package.parents[2] / "cache"
    value, loads, cache = run(package)
    assert [value, loads] == [6.0, 0]
    assert Path(cache).is_relative_to(folder)
    assert run(package) == [6.0, 1, cache]
    simd = package / "simd.py"
    source = simd.read_text()
    assert source.count("builder.fadd(*values)") == 1
    simd.write_text(source.replace("builder.fadd(*values)", "builder.fmul(*values)"))
    assert run(package) == [9.0, 0, cache]


def test_every_file_counts(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "__file__", str(package / "compiling.py"))
    digests = [compiling.sources_digest()]
    assert compiling.sources_digest() == digests[0]
    for path in sorted(package.glob("*.py")):
        path.write_text(path.read_text() + "\n")
        digests.append(compiling.sources_digest())
    (package / "double.py").rename(package / "twice.py")
    digests.append(compiling.sources_digest())
    assert len(set(digests)) == len(digests) == 6
