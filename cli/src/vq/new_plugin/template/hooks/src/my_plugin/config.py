"""The settings, without torch."""

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Steps


class MyPartConfig(ComponentConfig):
    every: Steps = 10
    """Steps from one line of the log to the next."""
