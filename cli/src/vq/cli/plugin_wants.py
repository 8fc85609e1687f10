"""What a plugin asks of an installation, by its metadata and its declarations. Torch-free."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from vq.requirements import required, unmet
from vqcore.plugin.importing import absent_modules
from vqcore.plugin.loader import Plugin

#: The packages whose version decides whether a plugin fits.
_OURS = re.compile(r"vqcore|vq-.*")


@dataclass(frozen=True)
class Wants:
    """What a plugin asks for.

    Attributes:
        requires: the versions of vqcore and vq-cli that its package requires.
        extras: the extras of its package.
        unmet: sentences about what is missing, or is there in another version, and about a version
            of the interface that will not be accepted for long.
    """

    requires: tuple[str, ...]
    extras: tuple[str, ...]
    unmet: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: list(each) for name, each in asdict(self).items()}


def wants(plugin: Plugin) -> Wants:
    """What a plugin asks for; of a plugin file, what its components need alone."""
    needs = [
        f"{kind} {spec.name} needs {', '.join(absent)}, which is not installed"
        for kind, specs in plugin.provides.items()
        for spec in specs
        if (absent := absent_modules(spec))
    ]
    package = plugin.package
    found = [each for each in required(package) if _OURS.fullmatch(each.name.replace("_", "-"))]
    return Wants(
        requires=tuple(f"{each.name}{each.specifier}" for each in found),
        extras=tuple(_extras(package)),
        unmet=(*map(str, unmet(package)), *needs, *plugin.earlier),
    )


def _extras(package: str) -> list[str]:
    try:
        return metadata.metadata(package).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # a plugin file
        return []
