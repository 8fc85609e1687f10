"""Options of the EMA codebook."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from vqcore.plugin.component_config import CodebookConfig


class EMAConfig(CodebookConfig):
    """Options of the codebook learned by exponential moving averages."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay (gamma) per step of the running counts and sums."""
    epsilon: PositiveFloat = 1e-5
    """Laplace smoothing of the counts, so that no code is divided by zero."""
