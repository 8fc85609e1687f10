"""Which positions of an input count, in any layout: (..., D), or (B, D, ...) as convolutions give."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.errors import SettingError


def positions_of(z: Tensor, channel_first: bool) -> tuple[int, ...]:
    """The shape of z without its dimension D."""
    return (z.shape[0], *z.shape[2:]) if channel_first else tuple(z.shape[:-1])


def mask_of(
    z: Tensor, channel_first: bool, mask: Tensor | None, lengths: Tensor | None
) -> Tensor | None:
    """The mask (...) that was given, or that lengths (B,) stand for: so many of each sample's first positions count.

    Raises:
        SettingError: if the one does not fit z, or both are given.
    """
    positions = positions_of(z, channel_first)
    if lengths is not None:
        if mask is not None or len(positions) < 2 or tuple(lengths.shape) != positions[:1]:
            expected = f"one number for each of {positions[0]} samples that have positions, and no mask beside"
            raise SettingError("lengths", tuple(lengths.shape), expected)
        rows = torch.arange(positions[1], device=z.device) < lengths.unsqueeze(1)
        return rows.reshape(positions[:2] + (1,) * (len(positions) - 2)).expand(positions)
    if mask is not None and (tuple(mask.shape) != positions or mask.dtype != torch.bool):
        given = f"{mask.dtype} {tuple(mask.shape)}"
        raise SettingError("mask", given, f"torch.bool {positions}, the input's shape without D")
    return mask
