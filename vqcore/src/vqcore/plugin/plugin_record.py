"""What a folder records of the plugins that its components came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.loader import Plugin, owner_of


@dataclass(frozen=True)
class PluginRecord:
    """What a folder records of the plugins that its components came from.

    Attributes:
        made: what was made with them, for messages: ``run`` or ``model``.
        providers: package and version of each component, by kind and name, with and without the
            package; of a plugin file, its path and ``file``.
        note: what else of the folder is not followed, and why, for messages.
    """

    made: str = "run"
    providers: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    note: str = ""

    def provider(self, kind: str, name: str) -> tuple[str, str]:
        """The package and version of a component; both empty if it is not recorded."""
        return self.providers.get((kind, name), ("", ""))

    def among(
        self, found: list[tuple[Plugin, ComponentSpec]], kind: str, name: str
    ) -> list[tuple[Plugin, ComponentSpec]]:
        """Of several packages that provide a name, the recorded one, if it is there; else all.

        Nothing takes the place of a plugin file.
        """
        package, version = self.provider(kind, name)
        same = [each for each in found if each[0].owns(owner_of(package))]
        return same if same or version == "file" else found

    def explain(self, plugins: Sequence[Plugin], kind: str, name: str) -> list[str]:
        """What the record says, in lines, of a component that ``plugins`` do not provide."""
        package, version = self.provider(kind, name)
        lines = [self.note] if self.note else []
        there = next((plugin for plugin in plugins if plugin.owns(owner_of(package))), None)
        if not package or (there and there.version == version):
            return lines
        made = f"this {self.made} was made with"
        if version == "file":
            return [f"{made} the plugin file {package}, which is not loaded", *lines]
        found = f"{there.version} is installed" if there else "which is not installed"
        return [f"{made} {package} {version}, {found}", *lines]
