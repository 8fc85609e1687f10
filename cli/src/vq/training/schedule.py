"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vq.config.run_config import RunConfig

#: Steps of the default warm-up,
WARMUP_STEPS = 50
#: and its largest share of the run.
WARMUP_SHARE = 0.1
#: The schedule ``wsd`` (warm-up, stable, decay) comes down over the last share of a run,
#: linearly (Hägele et al. 2024, arXiv:2405.18392).
COOLDOWN_SHARE = 0.2
#: A resumed run whose learning rate is not the one it left off with approaches it over this share
#: of the steps left,
EASING_SHARE = 0.1
#: and over no more steps than this (measured: docs/training.md).
EASING_STEPS = 50


def warmup_steps(total_steps: int, settings: RunConfig) -> int:
    """Steps of the warm-up, by default few enough that a short run gets over it."""
    default = min(WARMUP_STEPS, int(WARMUP_SHARE * total_steps))
    return default if settings.warmup_steps is None else settings.warmup_steps


def blend_steps(total_steps: int, settings: RunConfig) -> int:
    """Steps over which codes take the place of latents, by default those of the warm-up."""
    given = settings.blend_steps
    return warmup_steps(total_steps, settings) if given is None else given


def beyond_the_end(total_steps: int, settings: RunConfig) -> list[str]:
    """A sentence on the warm-up, and one on the blend, if the run is over before it is."""
    start = settings.quantize_start if settings.quantize_start < total_steps else 0
    missed = {
        "warmup_steps": (settings.warmup_steps, 0, "the learning rate is at its height"),
        "blend_steps": (blend_steps(total_steps, settings), start, "the decoder sees codes alone"),
    }
    return [
        f"{name} = {steps}: the run ends after {total_steps} steps, before {what}"
        for name, (steps, first, what) in missed.items()
        if steps and first + steps > total_steps
    ]


def rate_factor(step: int, total_steps: int, settings: RunConfig) -> float:
    """The factor of the learning rate at a step: a linear warm-up times the schedule."""
    warmup = warmup_steps(total_steps, settings)
    factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
    done = min(1.0, step / total_steps)
    match settings.schedule:
        case "cosine":
            return factor * 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return factor * (1 - done)
        case "wsd":
            return factor * min(1.0, (1 - done) / COOLDOWN_SHARE)
    return factor


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
