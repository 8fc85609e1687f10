"""What installed packages require, by their metadata: which of it is missing, and their extras."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: A row of a table in a README: the name of an extra as code, and what it gives.
_ROW = re.compile(r"\|\s*`([\w.-]+)`\s*\|\s*(.*?)\s*\|?\s*")


class Unmet(NamedTuple):
    """A requirement, and the version that is installed instead; None if there is none."""

    requirement: str
    installed: str | None

    def __str__(self) -> str:
        found = f"and {self.installed} is installed" if self.installed else "which is not installed"
        return f"requires {self.requirement}, {found}"


def installed(package: str) -> str | None:
    """The version of a package; None if it is missing, or half removed and without its metadata."""
    try:
        return metadata.version(package) or None
    except (metadata.PackageNotFoundError, KeyError):
        return None


def required(package: str, extra: str = "") -> list[Requirement]:
    """The requirements of a package that hold here; those of an extra alone, if one is given.

    What is no installed package has none, nor has what is not understood in its metadata.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        texts = metadata.requires(package) or ()
    except metadata.PackageNotFoundError:  # a plugin file
        return []
    found = []
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        wanted = marker is not None and marker.evaluate({"extra": extra})
        if (wanted and not always) if extra else always:
            found.append(requirement)
    return found


def unmet(package: str, extra: str = "", seen: frozenset[str] = frozenset()) -> Iterator[Unmet]:
    """The requirements, or those of an extra, that what is installed does not meet.

    ``seen`` has the extras that led here: two may name each other.
    """
    for requirement in required(package, extra):
        requirement.marker = None
        found = installed(requirement.name)
        if found is None:
            yield Unmet(str(requirement), None)
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield Unmet(str(requirement), found)
        for inner in sorted(requirement.extras):
            if (name := f"{requirement.name}[{inner}]") not in seen:
                yield from unmet(requirement.name, inner, seen | {name})


def described_extras(readme: str) -> dict[str, str]:
    """What extras give, by the table of a README whose first column is headed ``extra``."""
    found: dict[str, str] = {}
    inside = False
    for line in readme.splitlines():
        inside = line.startswith("| extra |") or (inside and line.startswith("|"))
        if inside and (row := _ROW.fullmatch(line)):
            found[row[1]] = row[2].replace("`", "")
    return found
