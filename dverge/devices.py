"""Names of devices, and the devices they name."""

from __future__ import annotations

import re

import torch

from dverge.errors import ConfigError, require

DEVICE_NAME = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def check_device_name(name: str) -> None:
    """Raise ConfigError unless this is the name of a device, on this machine or another."""
    known = isinstance(name, str) and DEVICE_NAME.fullmatch(name) is not None
    require(known, "device", name, "auto, cpu, cuda or cuda:N")


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU if there is one, else the CPU.

    Raises:
        ConfigError: this is not the name of a device, or this machine has no such device.
    """
    check_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {name!r}, but this machine has {torch.cuda.device_count()} CUDA devices; "
            "choose auto or cpu."
        )
    return device


def describe_device(device: torch.device) -> str:
    """A device for a person to read: the GPU's name, or the CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"
