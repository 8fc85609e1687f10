"""The options, without torch."""

from vqcore import LossConfig
from vqcore.plugin.bounds import Scale


class MyPartConfig(LossConfig):
    width: Scale = 0.1
    """Errors well below it count by their square, those well above by their size."""
