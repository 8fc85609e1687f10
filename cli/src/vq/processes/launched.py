"""What a launcher (torchrun, Accelerate, SLURM) says of this process. Torch-free."""

from __future__ import annotations

import os

from vqcore.errors import UsageError


def rank() -> int:
    """The number of this process among all; 0 prints and writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Its number among those of its machine: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world() -> int:
    """How many processes a launcher started, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def on_this_machine() -> int:
    """How many of them this machine has, as far as it is known."""
    return max(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), local_rank() + 1)


def several() -> bool:
    """Whether a launcher started several processes."""
    return world() > 1


def require_one(command: str, fix: str = "leave the launcher out") -> None:
    """Refuse several processes for a command that would do the same in each.

    Raises:
        UsageError: with the ``fix``.
    """
    if several():
        raise UsageError(f"{command}: expected one process, a launcher started {world()}; {fix}")
