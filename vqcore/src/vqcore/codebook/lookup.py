"""Codes by their indices, in any table of codes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.errors import SettingError


def codes_at(codes: Tensor, indices: Tensor) -> Tensor:
    """The rows of ``codes`` (K, D) at indices (...), and zero at -1.

    An index out of range is answered as ``in_range`` says.
    """
    inside = indices.clamp(0, codes.shape[0] - 1)
    return in_range(F.embedding(inside, codes), indices, codes.shape[0])


def in_range(rows: Tensor, indices: Tensor, codebook_size: int) -> Tensor:
    """The codes (..., D) of indices (...), with zero at -1.

    Any other index out of range gives NaN on an accelerator, where nothing waits for the device,
    and in compiled and exported graphs.

    Raises:
        SettingError: see ``check_indices``.
    """
    check_indices(indices, codebook_size)
    inside = (indices >= 0) & (indices < codebook_size)
    others = torch.where(indices == -1, 0.0, math.nan).to(rows.dtype)
    return torch.where(inside.unsqueeze(-1), rows, others.unsqueeze(-1))


def check_indices(indices: Tensor, codebook_size: int) -> None:
    """Refuse indices on the CPU that are neither codes nor -1, a masked token.

    Raises:
        SettingError: naming the first bad index and the range.
    """
    if torch.compiler.is_compiling() or indices.device.type != "cpu":
        return  # a compiled graph cannot raise, and an accelerator is not waited for
    bad = indices[(indices < -1) | (indices >= codebook_size)]
    if bad.numel():
        expected = f"codes 0 to {codebook_size - 1}, or -1 for a masked token"
        raise SettingError("indices", int(bad[0]), expected)
