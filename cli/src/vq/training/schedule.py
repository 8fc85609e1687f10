"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vq.config.run_config import RunConfig

#: A resumed run whose learning rate is not the one it left off with approaches it over this share
#: of the steps left,
EASING_SHARE = 0.1
#: and over no more steps than this (measured: docs/training.md).
EASING_STEPS = 50


def rate_factor(step: int, total_steps: int, settings: RunConfig) -> float:
    """The factor of the learning rate at a step: a linear warm-up times the schedule."""
    warmup = settings.warmup_steps
    factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if settings.schedule == "constant":
        return factor
    return factor * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))


def easing_steps(left: int) -> int:
    """Over how many of the steps left the learning rate is approached."""
    return min(EASING_STEPS, math.ceil(EASING_SHARE * max(left, 0)))


def eased(rate: float, step: int, easing: Mapping[str, float] | None) -> float:
    """A rate at a step, on the straight line to it from the one at which a run was resumed.

    ``easing`` holds that ``rate``, the ``step`` it was resumed at, and over how many ``steps``.
    """
    if easing is None or step >= easing["step"] + easing["steps"]:
        return rate
    done = (step - easing["step"] + 1) / (easing["steps"] + 1)
    return easing["rate"] + done * (rate - easing["rate"])
