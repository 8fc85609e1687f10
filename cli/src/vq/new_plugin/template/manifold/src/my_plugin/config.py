"""The options, without torch."""

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Scale


class MyPartConfig(ComponentConfig):
    stretch: Scale = 2.0
    """How much longer the first half of the axes is."""
