"""The options, without torch."""

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Decay, Rate


class MyPartConfig(ComponentConfig):
    lr: Rate = 1e-3
    """Learning rate: the length of each coordinate's step."""
    momentum: Decay = 0.9
    """Decay of the running mean of the gradient."""
