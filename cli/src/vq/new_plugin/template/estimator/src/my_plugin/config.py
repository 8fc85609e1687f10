"""The options, without torch."""

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Share


class MyPartConfig(ComponentConfig):
    gain: Share = 0.5
    """Share of the decoder's gradient that reaches the encoder."""
