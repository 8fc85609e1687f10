"""Which device a run uses, and how many threads."""

from __future__ import annotations

import os

import torch

from vq.processes.launched import local_rank, on_this_machine, several
from vqcore.errors import SettingError


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is a GPU if there is one, else the CPU.

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
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        fix = "mps has no float64, which counts and sums need" if name.startswith("mps") else ""
        raise SettingError("device", name, f"one of {', '.join(['auto', 'cpu', *gpus])}", fix)
    return device


def own_device(name: str) -> torch.device:
    """``choose_device``; each of several processes has the GPU of its number on its machine.

    Raises:
        SettingError: if there is no such device here, or not a GPU for each process.
    """
    device = choose_device(name)
    if device.type == "cpu" or not several():
        return device
    if device != torch.device("cuda"):  # one of them
        expected = "auto, cpu or cuda: each of several processes uses its own GPU"
        raise SettingError("device", name, expected)
    needed, found = on_this_machine(), torch.cuda.device_count()
    if needed > found:
        raise SettingError("device", name, f"a GPU for each of {needed} processes, found {found}")
    return torch.device("cuda", local_rank())


#: Multiplications of a step, roughly, below which a second thread costs more than it saves.
SMALL_STEP = 2e9


def choose_threads(device: torch.device, values: int, parameters: int) -> None:
    """Train a small model on a CPU with one thread, unless ``OMP_NUM_THREADS`` is set.

    Args:
        device: of the run.
        values: input values in a step, over the whole batch.
        parameters: of the model.
    """
    chosen = device.type != "cpu" or "OMP_NUM_THREADS" in os.environ
    if not chosen and values * parameters < SMALL_STEP:
        torch.set_num_threads(1)


def _exists(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu"  # not mps: it lacks float64, which counts and sums need
