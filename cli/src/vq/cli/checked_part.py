"""What ``vq check-plugin`` found of one part of a plugin."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Broken:
    """A rule that is broken: its name, the rule itself, what was found instead."""

    rule: str
    sentence: str
    found: str


@dataclass(frozen=True)
class Checked:
    """What was checked of a plugin.

    Attributes:
        what: ``plugin``, ``hooks``, or the kind of a component.
        name: of the plugin or the component.
        rules: how many were checked.
        broken: the rules that do not hold.
        unchecked: why none was checked, and what to do, empty if they were.
        note: what was measured.
    """

    what: str
    name: str
    rules: int = 0
    broken: tuple[Broken, ...] = ()
    unchecked: str = ""
    note: str = ""

    @property
    def status(self) -> str:
        """``ok``, ``broken`` or ``not checked``."""
        if self.unchecked:
            return "not checked"
        return "broken" if self.broken else "ok"

    def row(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"status": self.status, **asdict(self)}

    def by_cause(self) -> dict[str, list[Broken]]:
        """The broken rules by what was found: one mistake may break many."""
        causes: dict[str, list[Broken]] = {}
        for broken in self.broken:
            causes.setdefault(broken.found, []).append(broken)
        return causes
