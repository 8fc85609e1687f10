"""Riemannian Adam (Becigneul and Ganea 2019, arXiv:1810.00760), with a learning rate for points."""

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
    """Adam for ordinary parameters, Riemannian Adam for codes stored as points.

    Args:
        params: parameters, or groups of them as dicts. A group with both kinds becomes two,
            ordinary parameters first; the options of a group, such as ``lr``, hold for both.
        lr, manifold_lr, betas, eps, weight_decay: see ``RiemannianAdamConfig``.
    """
    given = list(params)
    groups = [group for group in given if isinstance(group, Mapping)] or [{"params": given}]
    parts: list[dict[str, Any]] = []
    for group in groups:
        members = group["params"]
        members = [members] if isinstance(members, Tensor) else list(members)
        ordinary = [p for p in members if not is_on_manifold(p)]
        points = [p for p in members if is_on_manifold(p)]
        if ordinary:
            parts.append({**group, "params": ordinary})
        if points:
            parts.append({"lr": manifold_lr, "weight_decay": 0.0, **group, "params": points})
    return RiemannianAdam(parts, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
