"""Riemannian Adam (Becigneul and Ganea 2019, arXiv:1810.00760), with a step length of its own for points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vq_hyperbolic.riemannian import RiemannianAdam, is_on_manifold


def riemannian_adam(
    params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
    *,
    lr: float = 4e-3,
    manifold_lr: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Adam for ordinary parameters, Riemannian Adam for codes held as points.

    Args:
        params: parameters, or groups of them as dicts. A group that mixes both sorts is split in two, ordinary
            parameters first; what a group states itself, ``lr`` too, holds for both parts.
        lr: learning rate of ordinary parameters.
        manifold_lr: learning rate of points; Adam divides by the gradient's length in the metric of the manifold, so
            this is about the distance a code moves in one step.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty on ordinary parameters.
    """
    given = list(params)
    grouped = bool(given) and isinstance(given[0], Mapping)
    groups = [
        part
        for group in (given if grouped else [{"params": given}])
        for part in _split(group, manifold_lr)
    ]
    return RiemannianAdam(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def _split(group: Mapping[str, Any], manifold_lr: float) -> list[dict[str, Any]]:
    params = group["params"]
    members = [params] if isinstance(params, Tensor) else list(params)
    flat = [p for p in members if not is_on_manifold(p)]
    points = [p for p in members if is_on_manifold(p)]
    parts = [
        {**group, "params": flat},
        {"lr": manifold_lr, "weight_decay": 0.0, **group, "params": points},
    ]
    return [part for part in parts if part["params"]]
