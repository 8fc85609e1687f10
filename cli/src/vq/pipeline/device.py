"""Which device a run uses."""

from __future__ import annotations

import torch

from vqcore.errors import SettingError


def choose_device(name: str) -> torch.device:
    """The device that ``name`` means; ``auto`` is the best there is.

    Raises:
        SettingError: if there is no such device here.
    """
    if name == "auto":
        kinds = ("cuda", "cpu") if torch.cuda.is_available() else ("mps", "cpu")
        return torch.device(next(kind for kind in kinds if _exists(torch.device(kind))))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or not _exists(device):
        here = ["auto", "cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise SettingError("device", name, f"one of {', '.join(here)}")
    return device


def _exists(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"
