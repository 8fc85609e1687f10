"""The names of what a run writes at a step: ``step-00000010``. A user's copies have others."""

from __future__ import annotations

import re

_NAME = re.compile(r"step-([0-9]{8,18})")


def step_name(step: int) -> str:
    """The name of what is written after a step."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step that a name of ours stands for; None of any other, as of ``step-00000010-best``."""
    found = _NAME.fullmatch(name)
    step = int(found[1]) if found else 0
    return step if name == step_name(step) else None
