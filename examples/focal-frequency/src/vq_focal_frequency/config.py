"""Options of the focal frequency loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from vqcore import LossConfig


class FocalFrequencyConfig(LossConfig):
    """Options of the focal frequency loss."""

    alpha: Annotated[float, Field(ge=0, le=10)] = 1.0
    """How much the worst coefficients count more than the others; 0 weighs all alike."""
