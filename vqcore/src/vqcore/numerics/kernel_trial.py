"""Whether a Triton kernel runs on this machine: a failure costs speed, not the run."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

import torch

logger = logging.getLogger("vqcore")


def succeeds(trial: Callable[[], bool], failure: str) -> bool:
    """Whether a kernel gives the right answer; if it fails, a warning says so and why.

    Args:
        trial: runs the kernel on a small problem and compares; called only if Triton is installed.
        failure: what the warning says before the cause.

    Raises:
        torch.OutOfMemoryError: if the trial does; it says nothing about the kernel.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        if trial():
            return True
        cause = "its answer is wrong"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.debug(failure, exc_info=error)
    logger.warning("%s: %s", failure, cause)
    return False
