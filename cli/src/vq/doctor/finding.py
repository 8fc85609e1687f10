"""What a check finds: facts, and problems with the way to solve them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vqcore.plugin.registry import Registry

#: Broken: something that was asked for does not work. Warning: it works, but slowly or not always.
Severity = Literal["broken", "warning"]
#: Plain values: an object by names, or a list of objects.
Facts = dict[str, Any] | list[dict[str, Any]]


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        severity: how bad it is.
        message: what is wrong.
        fix: what to do about it.
    """

    severity: Severity
    message: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """What a check found out."""

    facts: Facts
    problems: Sequence[Problem] = ()


#: A check looks at one matter. Whatever it raises becomes a problem of its own.
Check = Callable[[Registry], Finding]
