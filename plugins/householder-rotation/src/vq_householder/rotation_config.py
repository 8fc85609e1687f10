"""Options of the estimator ``rotation``."""

from __future__ import annotations

from vqcore.plugin.component_config import ComponentConfig


class RotationConfig(ComponentConfig):
    """Options of the rotation trick."""

    radial: bool = True
    """Keep the gradient along the latent; without it, the latent can only turn."""
    rescale: bool = True
    """Scale the gradient by |code| / |latent|; without it, the gradient is only turned."""
