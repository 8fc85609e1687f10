"""Copies to the device that the host does not wait for."""

from __future__ import annotations

import torch
from torch import Tensor


def copies_asynchronously(device: torch.device) -> bool:
    """Whether copies between host and device can overlap with the host's work."""
    return device.type in ("cuda", "xpu")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; from pinned memory to a GPU, since a copy from other memory waits."""
    if copies_asynchronously(device) and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
