"""Which device a run uses, and how much of a processor."""

from __future__ import annotations

import os

import torch

from vqcore.errors import SettingError


def choose_device(name: str) -> torch.device:
    """The device that ``name`` means; ``auto`` is the best there is.

    Raises:
        SettingError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or not _exists(device):
        here = ["auto", "cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise SettingError("device", name, f"one of {', '.join(here)}")
    return device


#: Multiplications of a training step, roughly, below which a second thread costs more than it does: the default run on
#: two free cores takes 16 s with one thread and 24 s with two.
SMALL_STEP = 2e9


def choose_threads(device: torch.device, values: int, parameters: int) -> None:
    """Compute a small model on a CPU with one thread, unless the environment says how many.

    Args:
        device: of the run.
        values: input values in a step, over the whole batch.
        parameters: of the model.
    """
    if (
        device.type == "cpu"
        and "OMP_NUM_THREADS" not in os.environ
        and values * parameters < SMALL_STEP
    ):
        torch.set_num_threads(1)


def _exists(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu"  # not mps: it has no float64, which counts and sums are kept in
