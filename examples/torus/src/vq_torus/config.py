"""Options of the torus."""

from __future__ import annotations

import math

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Scale


class TorusConfig(ComponentConfig):
    """Options of the torus."""

    period: Scale = 2 * math.pi
    """Circumference of each circle: coordinates that differ by it are the same."""
