"""Masks of inputs in any layout: (..., D), or (B, D, ...) as from convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqcore.errors import SettingError


def largest(dtype: torch.dtype) -> float:
    """Largest magnitude of a coordinate in computations of a type: 7e12 in float32.

    It is the cube root of the type's largest number: that leaves room for a sum of squares over as
    many terms.
    """
    return torch.finfo(dtype).max ** (1 / 3)


def usable(x: Tensor, limit: float) -> Tensor:
    """Which rows (...) of x (..., D) consist of numbers of magnitude up to ``limit``; NaN is none.

    x is read by reductions alone: an elementwise mask would be written and read again.
    """
    if x.device.type == "cpu":  # two that are vectorized there, unlike the largest norm
        return (x.amin(-1) >= -limit) & (x.amax(-1) <= limit)
    return torch.linalg.vector_norm(x, math.inf, -1) <= limit


def mask_of(
    z: Tensor, channel_first: bool, mask: Tensor | None, lengths: Tensor | None
) -> Tensor | None:
    """The mask (...) as given, or from lengths (B,): how many first positions of a sample count.

    Raises:
        SettingError: if either does not fit z, or both are given.
    """
    positions = (z.shape[0], *z.shape[2:]) if channel_first else tuple(z.shape[:-1])
    if lengths is not None:
        if mask is not None or len(positions) < 2 or tuple(lengths.shape) != positions[:1]:
            samples = f"one length for each of {positions[0]} samples that have positions"
            raise SettingError("lengths", tuple(lengths.shape), f"{samples}, and no mask as well")
        rows = torch.arange(positions[1], device=z.device) < lengths.unsqueeze(1)
        return rows.reshape(positions[:2] + (1,) * (len(positions) - 2)).expand(positions)
    if mask is not None and (tuple(mask.shape) != positions or mask.dtype != torch.bool):
        given = f"{mask.dtype} {tuple(mask.shape)}"
        raise SettingError("mask", given, f"torch.bool {positions}, the input's shape without D")
    return mask
