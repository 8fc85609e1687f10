"""The names of what a run writes at a step: ``step-00000010``. A user's copies have others."""

from __future__ import annotations

import re

_NAME = re.compile(r"step-([0-9]{8,18})")


def step_name(step: int) -> str:
    """The name of what is written after a step."""
    return f"step-{step:08d}"


def picture_name(step: int, epoch: int | None) -> str:
    """The name of a picture after a step, with the epoch that ends there if it was asked for."""
    return step_name(step) if epoch is None else f"{step_name(step)}-epoch-{epoch}"


def step_and_epoch(name: str) -> tuple[int, int | None] | None:
    """What ``picture_name`` made a name from; None of any other."""
    start, _, rest = name.partition("-epoch-")
    step, epoch = step_of(start), int(rest) if rest.isdecimal() else None
    return (step, epoch) if step is not None and name == picture_name(step, epoch) else None


def step_of(name: str) -> int | None:
    """The step that a name of ours stands for; None of any other, as of ``step-00000010-best``."""
    found = _NAME.fullmatch(name)
    step = int(found[1]) if found else 0
    return step if name == step_name(step) else None
