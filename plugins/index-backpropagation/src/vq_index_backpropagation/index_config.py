"""Options of index backpropagation."""

from __future__ import annotations

from vqcore.plugin.bounds import Scale
from vqcore.plugin.component_config import ComponentConfig


class IndexBackpropagationConfig(ComponentConfig):
    """Options of index backpropagation."""

    temperature: Scale = 1.0
    """Softness of the softmax, relative to the mean squared quantization error."""
