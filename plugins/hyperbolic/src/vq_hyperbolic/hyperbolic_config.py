"""Options of the hyperbolic manifolds and of the Riemannian optimizer."""

from __future__ import annotations

from typing import Literal

from vqcore.plugin.bounds import Decay, Epsilon, Rate, Scale, Weight
from vqcore.plugin.component_config import ComponentConfig, CurvedConfig

#: Largest sqrt(c) |u|, half the distance from the origin, at which float32 tells points apart:
#: there 1 - c|y|^2 in the ball has lost 2 of 7 digits. Lorentz has the same limit, to agree.
FLOAT32_REACH = 3.1
#: The same of float64, which has lost 5 of its 16 digits there.
FLOAT64_REACH = 6.1


def shown_limit(limit: float) -> str:
    """A limit in four digits, none above it: what a message names is accepted."""
    nearest = f"{limit:.4g}"
    return nearest if float(nearest) <= limit else f"{limit * (1 - 5e-4):.4g}"


class HyperbolicConfig(CurvedConfig):
    """Options of both models of hyperbolic space."""

    max_radius: Scale = 2.0
    """Clip of |u|, half the distance from the origin; at most 3.1/sqrt(curvature), float64: 6.1."""
    codes: Literal["tangent", "riemannian"] = "tangent"
    """Store codes as tangent vectors (any optimizer) or as points (optimizer riemannian-adam)."""


class PoincareConfig(HyperbolicConfig):
    """Options of the Poincare ball."""

    search: Literal["geodesic", "ball"] = "geodesic"
    """Distance by which codes are chosen and averaged; ball: in flat coordinates of the ball."""


class RiemannianAdamConfig(ComponentConfig):
    """Options of Riemannian Adam."""

    lr: Rate = 4e-3
    """Learning rate of ordinary parameters."""
    manifold_lr: Rate = 0.1
    """Learning rate of points on a manifold: about the distance that a code moves in a step."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: Epsilon = 1e-8
    """Added to the denominator."""
    weight_decay: Weight = 0.0
    """L2 penalty on ordinary parameters; points on a manifold are not decayed."""
