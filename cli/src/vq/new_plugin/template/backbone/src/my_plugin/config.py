"""The options, without torch."""

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Size


class MyPartConfig(ComponentConfig):
    tokens: Size = 4
    """Latents of a sample."""
