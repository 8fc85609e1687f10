"""The options, without torch."""

from vqcore import RegularizerConfig
from vqcore.plugin.bounds import Scale


class MyPartConfig(RegularizerConfig):
    floor: Scale = 1.0
    """Standard deviation that each coordinate of the latents should reach."""
