"""Options of torch's optimizers; their targets are torch's own classes."""

from __future__ import annotations

from vqcore.plugin.bounds import Decay, Epsilon, Rate, Weight
from vqcore.plugin.component_config import ComponentConfig


class AdamConfig(ComponentConfig):
    """Options of Adam."""

    lr: Rate = 4e-3
    """Learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay of the running mean and of the running square of the gradient."""
    eps: Epsilon = 1e-8
    """Added to the denominator."""
    weight_decay: Weight = 0.0
    """Weight decay, added to the gradient."""
    fused: bool = True
    """One kernel for the whole step, where the device has it."""


class AdamWConfig(AdamConfig):
    """Options of AdamW."""

    weight_decay: Weight = 0.0
    """Decoupled weight decay; none by default, since it would pull codes to the origin."""
