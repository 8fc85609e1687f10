"""The names in a new plugin: what follows from the one that a user gives, and what is taken."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from vq.requirements import installed
from vqcore.errors import SettingError
from vqcore.plugin.component import SEVERAL
from vqcore.plugin.registry import Registry
from vqcore.plugin.reserved import is_reserved

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: What distributions of plugins begin with, and their components do not.
_FAMILY = re.compile(r"(vqcore|vq)-(?=[a-z])")
#: What no file or folder of Windows is called.
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
#: Terms of the loss that are no components.
_TERMS = ("reconstruction", "classification", "commitment", "codebook")


@dataclass(frozen=True)
class PluginNames:
    """What a plugin and the things in it are called.

    Attributes:
        distribution: what is installed: ``vq-my-part``.
        package: what is imported: ``vq_my_part``.
        part: its entry point, and the component or command: ``my-part``.
        cls: the class of the component: ``MyPart``.
    """

    distribution: str
    package: str
    part: str
    cls: str

    @classmethod
    def of(cls, name: str) -> PluginNames:
        """The names that follow from that of the distribution, as package indexes normalize it.

        Raises:
            SettingError: if it is no such name, or its package or class could not be written.
        """
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if not _NAME.fullmatch(normal):
            expected = "letters, digits and hyphens, a letter first"
            fix = "give the folder after it" if re.search(r"[/\\]", name) else ""
            raise SettingError("NAME", name, expected, fix)
        part = _FAMILY.sub("", normal)
        title = "".join(word.capitalize() for word in part.split("-"))
        names = cls(normal, normal.replace("-", "_"), part, title)
        for each in (names.package, names.cls):
            if keyword.iskeyword(each):
                raise names.refused(f"{each} is a word of Python")
        return names

    def check_free(self, kind: str, registry: Registry, commands: Collection[str]) -> None:
        """Refuse a name that means something already.

        Args:
            kind: of the component; the kind ``command`` is a command.
            registry: the installed plugins.
            commands: the names of all commands.

        Raises:
            SettingError: saying what has the name.
        """
        reason = next(self._taken(kind, registry, commands), None)
        if reason is not None:
            raise self.refused(reason)

    def _taken(self, kind: str, registry: Registry, commands: Collection[str]) -> Iterator[str]:
        if _DEVICES.fullmatch(self.part):
            yield f"Windows has a device {self.part}, and no folder of that name"
        if self.package in sys.stdlib_module_names:
            yield f"{self.package} is a module of Python"
        spec = find_spec(self.package)
        if spec and spec.origin:  # a folder of that name has a spec without one
            yield f"a module {self.package} is installed"
        if installed(self.distribution):
            yield f"a package {self.distribution} is installed"
        for plugin in registry.plugins:
            if plugin.is_called(self.part):
                yield f"{plugin.package} has a plugin {plugin.plugin}"
            if any(spec.name == self.part for spec in plugin.provides.get(kind, ())):
                yield f"{plugin.package} has a {kind} {self.part}"
        if kind in SEVERAL.values() and is_reserved(self.part, _TERMS):
            yield f"a run logs a metric {self.part}"
        if kind == "command" and self.part in commands:
            yield f"there is a command {self.part}"

    def refused(self, reason: str) -> SettingError:
        """The error for a name that cannot be used."""
        expected, fix = f"another name: {reason}", f"try my-{self.part}"
        return SettingError("NAME", self.distribution, expected, fix)
