"""Options of torch's optimizers; their targets are torch's own classes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from vqcore.plugin.component_config import ComponentConfig

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamConfig(ComponentConfig):
    """Options of Adam."""

    lr: PositiveFloat = 4e-3
    """Learning rate."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Decay of the running mean and of the running square of the gradient."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay, added to the gradient."""
    fused: bool = True
    """One kernel for the whole step, where the device has it."""


class AdamWConfig(AdamConfig):
    """Options of AdamW."""

    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay; none by default, since it would pull codes to the origin."""
