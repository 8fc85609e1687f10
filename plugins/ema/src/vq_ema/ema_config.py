"""Options of the EMA codebook."""

from __future__ import annotations

from vqcore.plugin.bounds import Decay, Epsilon, Share
from vqcore.plugin.component_config import CodebookConfig


class EMAConfig(CodebookConfig):
    """Options of the codebook learned by exponential moving averages."""

    decay: Decay = 0.99
    """Decay (gamma) per step of the running counts and sums."""
    epsilon: Epsilon = 1e-5
    """Laplace smoothing of the counts, so that no code is divided by zero."""
    drift: Share = 0.0
    """How much codes without a token follow the mean move of the others in a step; 1: all of it."""
