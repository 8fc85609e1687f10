"""Gradients that are averaged over the processes of a group."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vqcore.distributed import is_active


def averaged(model: nn.Module, device: torch.device) -> nn.Module:
    """The model; in a group, with its gradients averaged. Buffers are not exchanged.

    Every parameter has to have a gradient in every backward pass.
    """
    if not is_active():
        return model
    devices = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():
        # its successor came with torch 2.13
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(model, devices, broadcast_buffers=False)


def unsynchronised(model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Inside, backward passes accumulate gradients in this process alone."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()
