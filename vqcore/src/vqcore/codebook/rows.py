"""The rows of codes in parameters, buffers and the state of an optimizer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def reset_rows(parameter: Tensor, rows: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Clear the optimizer's moments of replaced rows (K,) of a parameter (K, ...)."""
    for value in optimizer.state.get(parameter, {}).values() if optimizer is not None else ():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value.masked_fill_(rows.unsqueeze(1), 0)


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
