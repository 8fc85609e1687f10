"""Codes held as points: the only module that imports geoopt, which takes about a second, so import it late."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    # geoopt 0.5 compiles 73 functions with torch.jit.script when it is imported, and each one warns.
    warnings.filterwarnings(
        "ignore", message="`torch.jit.script` is deprecated", category=FutureWarning
    )
    import geoopt


class RiemannianAdam(geoopt.optim.RiemannianAdam):
    """geoopt's, made to resume exactly: torch's Adam loads the step count, which geoopt holds as an int, as float32."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for values in self.state.values():
            values["step"] = int(values["step"])


def ball_parameter(points: Tensor, curvature: float) -> nn.Parameter:
    """Points (K, D) of the Poincare ball of curvature -c as a parameter that knows its manifold."""
    return _parameter(points, geoopt.PoincareBall(torch.tensor(curvature, dtype=torch.float64)))


def hyperboloid_parameter(points: Tensor, curvature: float) -> nn.Parameter:
    """Points (K, D+1) of the hyperboloid of curvature -c likewise; geoopt's k is 1/c, the squared radius."""
    return _parameter(points, geoopt.Lorentz(torch.tensor(1 / curvature, dtype=torch.float64)))


def _parameter(points: Tensor, manifold: geoopt.Manifold) -> nn.Parameter:
    return geoopt.ManifoldParameter(points.detach().clone(), manifold=manifold)


def is_on_manifold(parameter: Tensor) -> bool:
    """Whether a parameter still knows its manifold: some ways of loading and sharding turn it into a plain one."""
    return isinstance(parameter, geoopt.ManifoldParameter)
