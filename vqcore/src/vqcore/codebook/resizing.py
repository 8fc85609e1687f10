"""More or fewer codes: which ones stay, and where."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.errors import SettingError


def check_size(size: int, name: str = "codebook_size") -> None:
    """Refuse what is no number of codes or dimensions.

    Raises:
        SettingError: if it is no whole number, below 1, or does not fit into 64 bits.
    """
    is_whole = hasattr(size, "__index__") and not isinstance(size, bool)  # NumPy's are, too
    if not (is_whole and 0 < size < 2**63):
        raise SettingError(name, size, "a whole number of at least 1, of at most 64 bits")


def most_used(usage: Tensor, count: int) -> Tensor:
    """The ``count`` codes with the highest usage (K,), most used first, over again beyond K."""
    order = usage.argsort(descending=True, stable=True)
    return order[torch.arange(count, device=usage.device) % len(order)]


def new_indices(kept: Tensor, codebook_size: int) -> Tensor:
    """The place of each of ``codebook_size`` codes in ``kept``, int64; -1 for the others."""
    found = torch.full((codebook_size,), -1, device=kept.device)
    found[kept] = torch.arange(len(kept), device=kept.device)
    return found
