"""The options, without torch."""

from vqcore import CodebookConfig
from vqcore.plugin.bounds import Scale


class MyPartConfig(CodebookConfig):
    scale_lr: Scale = 10.0
    """Learning rate of the scale that all codes share, relative to the optimizer's."""
