"""What a plugin declares: its components and settings, and what their declarations name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vqcore.plugin.component import INTERFACES, ComponentSpec
from vqcore.plugin.component_config import ComponentConfig
from vqcore.plugin.loader import Plugin, owner_of
from vqcore.testing.rules import explained, fail

#: The interface of each kind whose targets are its subclasses: of an optimizer, any callable.
BASES: dict[str, type] = {
    kind: pkgutil.resolve_name(interface)
    for kind, interface in INTERFACES.items()
    if kind != "optimizer"
}
_LOWER = {"minimum", "exclusiveMinimum"}
_UPPER = {"maximum", "exclusiveMaximum"}


@dataclass(frozen=True)
class Declared:
    """A component that a plugin provides, or its settings, as if they were a component's options.

    Attributes:
        kind: of the component, or ``settings of``.
        spec: its declaration.
        owner: what stands before the slash in its name.
    """

    kind: str
    spec: ComponentSpec
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.spec.name!r}"

    def target(self) -> Any:
        """The class, imported."""
        return self._imported(self.spec.target)

    def model(self) -> Any:
        """The model of the options, imported; None without options."""
        return self._imported(self.spec.config) if self.spec.config else None

    def _imported(self, location: str) -> Any:
        name, _, attribute = location.partition(":")
        try:
            return getattr(importlib.import_module(name), attribute)
        except Exception as error:
            fail(f"{self}: {location} cannot be imported: {explained(error)}")


def components_of(record: Plugin) -> list[Declared]:
    """The components of a plugin."""
    owner = owner_of(record.package)
    return [
        Declared(kind, spec, owner) for kind, specs in record.provides.items() for spec in specs
    ]


def settings_of(record: Plugin) -> list[Declared]:
    """The settings of the plugin itself: one declaration, or none."""
    if not record.settings:
        return []
    name, at = record.plugin.replace("_", "-").lower(), record.settings
    spec = ComponentSpec(name=name, target=at, config=at, summary="its settings")
    return [Declared("settings of", spec)]


def unbounded(model: type[ComponentConfig]) -> list[str]:
    """The options that hold a number without a lower or an upper bound."""
    schemas = model.model_json_schema()["properties"]
    return [
        name
        for name, schema in schemas.items()
        for number in _numbers(schema)
        if not (_LOWER & number.keys() and _UPPER & number.keys())
    ]


def _numbers(schema: Any) -> Iterator[dict[str, Any]]:
    """The numbers in a JSON schema that are no choice among some: in lists and mappings too."""
    if isinstance(schema, list):
        for each in schema:
            yield from _numbers(each)
    elif isinstance(schema, dict) and "enum" not in schema and "const" not in schema:
        if schema.get("type") in ("integer", "number"):
            yield schema
        for key, part in schema.items():
            if key != "default":
                yield from _numbers(part)
