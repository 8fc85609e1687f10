"""Options of the estimator ``diveq``."""

from __future__ import annotations

from vqcore.plugin.bounds import Weight
from vqcore.plugin.component_config import ComponentConfig


class DiVeQConfig(ComponentConfig):
    """Options of DiVeQ."""

    noise: Weight = 0.001
    """Standard deviation of the noise on the direction, per coordinate of a latent; 0 has none."""
