"""More or fewer codes: which ones stay, and their rows in tensors and an optimizer's state."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

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


def take_rows(
    module: nn.Module, name: str, rows: Tensor, optimizer: torch.optim.Optimizer | None
) -> None:
    """Replace a parameter or buffer (K, ...) of a module by its ``rows``.

    A parameter becomes a new one of the same class, with the old one's place in the optimizer: the
    old one would keep its shape in graphs that still exist.
    """
    old = getattr(module, name)
    taken = old.detach().index_select(0, rows)
    if not isinstance(old, nn.Parameter):
        setattr(module, name, taken)
        return
    new = copy.deepcopy(old)
    new.data = taken
    setattr(module, name, new)
    if optimizer is not None:
        _hand_over(optimizer, old, new, rows)


def _hand_over(
    optimizer: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter, rows: Tensor
) -> None:
    """Let an optimizer train ``new`` instead of ``old``, with the state of its rows."""
    for group in optimizer.param_groups:
        group["params"] = [new if each is old else each for each in group["params"]]
    state = {}
    for name, value in optimizer.state.pop(old, {}).items():
        if isinstance(value, Tensor) and value.ndim > 0:
            if value.shape != old.shape:  # as the factors of Adafactor: they start afresh
                return
            value = value.index_select(0, rows)
        state[name] = value
    if state:
        optimizer.state[new] = state
