"""Options of the hyperbolic manifolds and of the Riemannian optimizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from vqcore.plugin.component_config import ComponentConfig, CurvedConfig

Decay = Annotated[float, Field(ge=0, lt=1)]


class HyperbolicConfig(CurvedConfig):
    """Options of both models of hyperbolic space."""

    max_radius: PositiveFloat = 2.0
    """Latents are clipped to this tangent norm; the distance from the origin is twice the norm."""
    codes: Literal["tangent", "riemannian"] = "tangent"
    """Store codes as tangent vectors (any optimizer) or as points (optimizer riemannian-adam)."""


class RiemannianAdamConfig(ComponentConfig):
    """Options of Riemannian Adam."""

    lr: PositiveFloat = 4e-3
    """Learning rate of ordinary parameters."""
    manifold_lr: PositiveFloat = 0.1
    """Learning rate of points on a manifold: about the distance that a code moves in a step."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on ordinary parameters; points on a manifold are not decayed."""
