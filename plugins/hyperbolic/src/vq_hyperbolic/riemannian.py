"""Codes stored as points. The only module that imports geoopt, which takes about a second."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    # geoopt 0.5 compiles 73 functions with torch.jit.script at import, each with a warning
    message = "`torch.jit.script` is deprecated"
    warnings.filterwarnings("ignore", message=message, category=FutureWarning)
    import geoopt


class RiemannianAdam(geoopt.optim.RiemannianAdam):
    """geoopt's, resuming exactly: torch loads the step count as float32, geoopt needs an int."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for values in self.state.values():
            values["step"] = int(values["step"])


def point_parameter(points: Tensor, name: str, curvature: Tensor | float) -> nn.Parameter:
    """Points (K, A) as a parameter with geoopt's PoincareBall or Lorentz of curvature -c."""
    k = 1 / curvature if name == "Lorentz" else curvature
    manifold = getattr(geoopt, name)(torch.as_tensor(k, dtype=torch.float64))
    return geoopt.ManifoldParameter(points.detach().clone(), manifold=manifold)


def is_on_manifold(parameter: Tensor) -> bool:
    """Whether a parameter has its manifold, which some ways of loading and sharding drop."""
    return isinstance(parameter, geoopt.ManifoldParameter)
