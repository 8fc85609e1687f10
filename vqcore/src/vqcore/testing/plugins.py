"""What must hold for every plugin: its declarations."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vqcore.errors import shown
from vqcore.plugin import hooks
from vqcore.plugin.component import INTERFACES, ComponentSpec
from vqcore.plugin.component_config import ActsIf, ComponentConfig, descriptions
from vqcore.plugin.loader import Plugin, owner_of
from vqcore.plugin.registry import Registry, default_registry, inner_kinds
from vqcore.testing.components import injected
from vqcore.testing.loaded import module_of, registry_with
from vqcore.testing.rules import expect, fail, rule

#: The interface of each kind whose targets are its subclasses: of an optimizer, any callable.
BASES: dict[str, type] = {
    kind: pkgutil.resolve_name(interface)
    for kind, interface in INTERFACES.items()
    if kind != "optimizer"
}
_LOWER = {"minimum", "exclusiveMinimum"}
_UPPER = {"maximum", "exclusiveMaximum"}
#: Imports the modules in argv in a fresh interpreter, and prints whether that imports torch.
_PROBE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print("torch" in sys.modules)
"""


@lru_cache(maxsize=1)
def _probed(names: tuple[str, ...], search_path: str) -> subprocess.CompletedProcess[str]:
    """What importing modules in a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", _PROBE, *names],
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Declared:
    """A component that the plugin provides."""

    kind: str
    spec: ComponentSpec

    def __str__(self) -> str:
        return f"{self.kind} {self.spec.name!r}"


class PluginConformance:
    """Subclass it, name your plugin, and let pytest or ``violations`` run it.

    Attributes:
        plugin: the plugin's module or its dotted name.
        package: instead, a package (or plugin) in ``registry()``.
        torch_free: whether plugin and config modules must not import torch; False for a plugin in a
            single file, together with its classes.
    """

    plugin: ModuleType | str | None = None
    package: str | None = None
    torch_free: bool = True

    def registry(self) -> Registry:
        """Where ``package`` is looked up; the installed plugins by default."""
        return default_registry()

    def required(self, kind: str, name: str) -> dict[str, Any]:
        """Values for the options of a component that have no default."""
        return {}

    def injected(self, kind: str) -> dict[str, Any] | None:
        """What the builder passes besides options; None if the kit does not build this kind."""
        of_samples = kind in ("backbone", "loss", "dataset")
        return None if of_samples else injected(kind)[0]

    # -- the module ----------------------------------------------------------

    @rule
    def test_api_version(self) -> None:
        """The plugin module states the version of the interface: VQ_API = 1."""
        for module in self._modules():
            found = getattr(module, "VQ_API", None)
            right = type(found) is int and found == hooks.API_VERSION
            expect(right, f"VQ_API = {found!r} in {module.__name__} instead of {hooks.API_VERSION}")

    @rule
    def test_loads(self) -> None:
        """The plugin loads without an error or a clash, and implements a hook."""
        _, records = self._loaded()
        for record in records:
            expect(record.status == "ok", f"{record.plugin} is {record.status}: {record.error}")
        names = [name for module in self._modules() for name in vars(module)]
        expect(any(name.startswith("vq_") for name in names), "no hook")

    @rule
    def test_import_is_torch_free(self) -> None:
        """Plugin and config modules import no torch, so that listing and validating stay fast."""
        if self.torch_free:
            what, printed = self._imported_alone()
            expect(printed[-1:] == ["False"], f"{what} imports torch")

    @rule
    def test_nothing_is_printed(self) -> None:
        """Importing plugin and config modules prints nothing, which would be in all output."""
        _, records = self._loaded()
        printed = [note for record in records for note in record.notes if "prints" in note]
        if self.torch_free:
            what, lines = self._imported_alone()
            printed += [f"{what} prints {shown(' '.join(lines[:-1]))}" for _ in lines[1:2]]
        expect(not printed, "; ".join(printed))

    # -- what it declares ----------------------------------------------------

    @rule
    def test_specs_are_valid(self) -> None:
        """Each component has a unique name in its kind and a summary of one line."""
        declared = list(self._declared())
        for each in declared:
            times = sum(str(other) == str(each) for other in declared)
            expect(times == 1, f"{each} is declared {times} times")
            summary = each.spec.summary
            short = "\n" not in summary and len(summary) <= 100
            expect(short, f"{each}: a summary of more than a line: {summary!r}")

    @rule
    def test_targets_fit_their_kind(self) -> None:
        """Each target can be imported and is a concrete class of its kind's interface."""
        for each in self._declared():
            target, base = _imported(each.spec.target, each), BASES.get(each.kind)
            if base is None:
                expect(callable(target), f"{each}: {each.spec.target} cannot be called")
                continue
            right = isinstance(target, type) and issubclass(target, base)
            expect(right, f"{each}: {each.spec.target} is not a {base.__module__}.{base.__name__}")
            left = sorted(getattr(target, "__abstractmethods__", ()))
            expect(not left, f"{each}: {each.spec.target} leaves {', '.join(left)} abstract")

    @rule
    def test_options_are_a_model(self) -> None:
        """Options are a ComponentConfig: unknown keys are refused, values cannot be changed."""
        for each, model in self._models():
            right = isinstance(model, type) and issubclass(model, ComponentConfig)
            expect(right, f"{each}: {each.spec.config} is not a vqcore.ComponentConfig")
            settings = model.model_config
            strict = settings.get("extra") == "forbid" and settings.get("frozen")
            expect(strict, f"{each}: {each.spec.config} allows unknown keys or changes")

    @rule
    def test_options_are_described(self) -> None:
        """Every option has a description: a string below its field."""
        for each, model in self._models():
            found = descriptions(model)
            for name, info in model.model_fields.items():
                text = found.get(name) or info.description or ""
                label = f"{each}: option {name!r} of {each.spec.config}"
                expect(text.strip(), f"{label} is not described")

    @rule
    def test_options_depend_on_options(self) -> None:
        """What ``ActsIf`` marks depends on another option of the component, and on its values."""
        for each, model in self._models():
            fields = model.model_fields
            for name, mark in [(n, m) for n in fields for m in fields[n].metadata]:
                if isinstance(mark, ActsIf):
                    label = f"{each}: {name!r} of {each.spec.config} acts with {mark.option!r}"
                    expect(
                        mark.option in fields and mark.option != name, f"{label}, no other option"
                    )
                    for value in mark.values:
                        try:
                            TypeAdapter(fields[mark.option].annotation).validate_python(value)
                        except ValidationError:
                            fail(f"{label} = {value!r}, which that one refuses")

    @rule
    def test_numbers_are_bounded(self) -> None:
        """Every number among the options has a lower and an upper bound."""
        for each, model in self._models():
            names = ", ".join(unbounded(model))
            expect(not names, f"{each}: {each.spec.config} does not bound {names}")

    @rule
    def test_constructors_take_their_options(self) -> None:
        """Each constructor takes every option as a keyword and requires only injected ones more."""
        for each in self._declared():
            label, passed = f"{each}: {each.spec.target}", self.injected(each.kind)
            config = each.spec.config
            options = set(_imported(config, each).constructor_options()) if config else set()
            parameters = inspect.signature(_imported(each.spec.target, each)).parameters.values()
            named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            keywords = [p for p in parameters if p.kind in named]
            refused = ", ".join(sorted(options - {p.name for p in keywords}))
            takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
            expect(takes_any or not refused, f"{label} does not take {refused}")
            required = {p.name for p in keywords if p.default is p.empty}
            more = ", ".join(sorted(required - options - set(passed or {})))
            expect(passed is None or not more, f"{label} requires {more}, which is no option")

    @rule
    def test_defaults_build(self) -> None:
        """Each component is built from its name alone, or with ``required`` options."""
        registry, records = self._loaded()
        for record in records:
            for each in _declared_by(record):
                name, passed = (
                    f"{owner_of(record.package)}/{each.spec.name}",
                    self.injected(each.kind),
                )
                if passed is not None:
                    choice = {"name": name, **self.required(each.kind, each.spec.name)}
                    registry.build(registry.resolve(each.kind, choice), **passed)

    @rule
    def test_settings_have_defaults(self) -> None:
        """Every setting of the plugin itself has a default: a run need not give any."""
        for each in self._settings():
            for name, info in _imported(str(each.spec.config), each).model_fields.items():
                expect(not info.is_required(), f"{each}: {name!r} has no default")

    @rule
    def test_inner_components_have_defaults(self) -> None:
        """An option that chooses another component has a default that the registry knows."""
        registry, _ = self._loaded()
        for each, model in self._models():
            for name, kind in inner_kinds(model).items():
                info = model.model_fields[name]
                expect(not info.is_required(), f"{each}: option {name!r} has no default")
                registry.resolve(kind, info.get_default(call_default_factory=True))

    # -- the plugin ----------------------------------------------------------

    def _imported_alone(self) -> tuple[str, list[str]]:
        """What is imported in a fresh interpreter, and the lines that this prints.

        The last one says whether torch is imported.
        """
        modules = list(self._modules())
        declared = [*self._declared(), *self._settings()]
        configs = [each.spec.config for each in declared if each.spec.config]
        found = {module.__name__ for module in modules}
        names = sorted(found | {config.partition(":")[0] for config in configs})
        folders = [str(Path(module.__file__).parent) for module in modules if module.__file__]
        search_path = os.pathsep.join([*(p for p in sys.path if p), *folders])
        done = _probed(tuple(names), search_path)
        what = f"importing {', '.join(names)}"
        expect(done.returncode == 0, f"{what} failed: {done.stderr.strip()[-300:]}")
        return what, done.stdout.splitlines()

    def _loaded(self) -> tuple[Registry, list[Plugin]]:
        """A registry with the plugin, and the plugin's records in it."""
        if self.plugin is not None:
            return registry_with([self._module()])
        expect(self.package, "neither plugin nor package is set")
        registry = self.registry()
        records = [record for record in registry.plugins if record.is_called(str(self.package))]
        expect(records, f"no plugin of {self.package!r} is found")
        return registry, records

    def _module(self) -> ModuleType:
        if isinstance(self.plugin, ModuleType):
            return self.plugin
        return importlib.import_module(str(self.plugin))

    def _modules(self) -> Iterator[ModuleType]:
        """The plugin's module, or those of a package's plugins."""
        if self.plugin is not None:
            yield self._module()
            return
        registry, records = self._loaded()
        for record in records:
            module = module_of(registry, record)
            if module is None:
                fail(f"{record.plugin} is {record.status}: {record.error}")
            yield module

    def _declared(self) -> Iterator[Declared]:
        _, records = self._loaded()
        for record in records:
            if record.status not in ("ok", "clash"):
                fail(f"{record.plugin} is {record.status}: {record.error}")
            yield from _declared_by(record)

    def _models(self) -> Iterator[tuple[Declared, Any]]:
        """The options models of components, and those of settings of the plugin itself."""
        for each in [*self._declared(), *self._settings()]:
            if each.spec.config is not None:
                yield each, _imported(each.spec.config, each)

    def _settings(self) -> list[Declared]:
        """The settings of the plugins themselves, as if they were a component's options."""
        found = []
        for record in self._loaded()[1]:
            if record.settings:
                name = record.plugin.replace("_", "-").lower()
                at = record.settings
                spec = ComponentSpec(name=name, target=at, config=at, summary="its settings")
                found.append(Declared("settings of", spec))
        return found


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


def _declared_by(record: Plugin) -> list[Declared]:
    return [Declared(kind, spec) for kind, specs in record.provides.items() for spec in specs]


def _imported(location: str, each: Declared) -> Any:
    name, _, attribute = location.partition(":")
    try:
        return getattr(importlib.import_module(name), attribute)
    except Exception as error:
        fail(f"{each}: {location} cannot be imported: {type(error).__name__}: {error}")
