"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from vq.config.run_config import RunConfig


def rate_factor(step: int, total_steps: int, settings: RunConfig) -> float:
    """The factor of the learning rate at a step: a linear warm-up times the schedule."""
    warmup = settings.warmup_steps
    factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if settings.schedule == "constant":
        return factor
    return factor * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
