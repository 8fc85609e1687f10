"""The options, without torch."""

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Count, Size


class MyPartConfig(ComponentConfig):
    samples: Count = 2000
    """Training samples; a quarter as many are held out."""
    side: Size = 16
    """Pixels on each side."""
