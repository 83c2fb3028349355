"""Plain weight files: imported as a checkpoint, and exported from one."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dverge.checkpoints import CheckpointInfo, load, member_of, save
from dverge.errors import CheckpointError
from dverge.models import Ensemble
from dverge.stored import replacing


def import_weights(
    files: Sequence[Path], name: str, root: Path | None = None, classes: Sequence[str] = ()
) -> CheckpointInfo:
    """Make a checkpoint of plain Conv state dicts (keys conv1.weight … fc3.bias).

    Args:
        files: one for each member.
        name: of the checkpoint.
        root: the folder of checkpoints; the default one if None.
        classes: the names of the ten outputs, if they are not CIFAR-10's classes.

    Raises:
        CheckpointError: a file is missing, holds anything but tensors, or they are not a Conv's.
        ConfigError: the classes are not ten.
    """
    members = [member_of(read_state_dict(file), str(file)) for file in files]
    config = {"files": [file.name for file in files]}
    ensemble, classes = Ensemble(members), list(classes)
    return save(name, ensemble, method="imported", root=root, config=config, classes=classes)


def export_weights(info: CheckpointInfo, folder: Path) -> list[Path]:
    """Write each member's plain state dict to folder as <name>-member-<i>.pth.

    Raises:
        CheckpointError: the checkpoint is broken, or a file of that name is there already.
    """
    ensemble = load(info)
    count = len(ensemble)
    paths = [folder / f"{info.name}-member-{i}.pth" for i in range(1, count + 1)]
    for path in paths:
        if path.exists():
            raise CheckpointError(f"{path} is there already; move it or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for path, member in zip(paths, ensemble.members, strict=True):
        with replacing(path) as temporary:
            torch.save(member.state_dict(), temporary)
    return paths


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Tensors of a .pth file, without running any code that it may hold.

    Raises:
        CheckpointError: it cannot be read, or holds anything but named tensors.
    """
    try:
        raw = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {file}.") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}).") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file} is refused: it holds something other than tensors, which may be code. Save "
            "the weights again with torch.save(model.state_dict(), file)."
        ) from None
    except Exception:  # noqa: BLE001 - on a damaged file torch raises nearly anything
        raise CheckpointError(
            f"{file} is no file of weights, or it is damaged. Save the weights again with "
            "torch.save(model.state_dict(), file)."
        ) from None
    if not isinstance(raw, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in raw.items()
    ):
        raise CheckpointError(
            f"{file} holds no state dict, which is a dictionary of named tensors."
        )
    return raw
