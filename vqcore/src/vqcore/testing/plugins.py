"""What must hold for every plugin: its declarations."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vqcore.errors import shown
from vqcore.plugin import hooks
from vqcore.plugin.component_choice import inner_kinds
from vqcore.plugin.component_config import ActsIf, ComponentConfig, descriptions
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry, default_registry
from vqcore.testing.components import injected
from vqcore.testing.declarations import BASES, Declared, components_of, settings_of, unbounded
from vqcore.testing.fresh_import import MOST_SECONDS, FreshImport, imported
from vqcore.testing.loaded import module_of, registry_with
from vqcore.testing.rules import expect, fail, rule


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
        for record in self._records():
            expect(record.status == "ok", f"{record.plugin} is {record.status}: {record.error}")
        modules = list(self._modules())
        found = any(name.startswith("vq_") for module in modules for name in vars(module))
        names = ", ".join(module.__name__ for module in modules)
        expect(found, f"no hook in {names}, such as a function vq_losses with @vqcore.hookimpl")

    @rule
    def test_import_is_torch_free(self) -> None:
        """Plugin and config modules import no torch, so that listing and validating stay fast."""
        if self.torch_free:
            what, found = self._imported_alone()
            fix = "import it in the modules of the classes, or inside functions"
            expect("torch" not in found.others, f"{what} imports torch; {fix}")

    @rule
    def test_import_is_fast(self) -> None:
        """Importing plugin and config modules takes 0.3 s of CPU time at most.

        On a slow machine it takes no longer than importing what every command needs of vqcore.
        """
        if self.torch_free:
            what, found = self._imported_alone()
            if "torch" not in found.others:  # which is a rule of its own
                others = f", with {', '.join(found.others)}" if found.others else ""
                most = max(MOST_SECONDS, found.usual)
                took = f"{what} takes {found.seconds:.2f} s{others}, {most:.2f} s at most"
                fix = "import what is slow inside the functions that use it"
                expect(found.is_fast, f"{took}; {fix}")

    @rule
    def test_nothing_is_printed(self) -> None:
        """Importing plugin and config modules prints nothing, which would be in all output."""
        printed = [note for each in self._records() for note in each.notes if "prints" in note]
        if self.torch_free:
            what, found = self._imported_alone()
            printed += [f"{what} prints {shown(found.printed)}"] * bool(found.printed)
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
            target, base, place = each.target(), BASES.get(each.kind), each.spec.target
            if base is None:
                expect(callable(target), f"{each}: {place} cannot be called")
                continue
            right = isinstance(target, type) and issubclass(target, base)
            expect(right, f"{each}: {place} is not a {base.__module__}.{base.__name__}")
            left = sorted(getattr(target, "__abstractmethods__", ()))
            expect(not left, f"{each}: {place} leaves {', '.join(left)} abstract; define it")

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
                if not isinstance(mark, ActsIf):
                    continue
                label = f"{each}: {name!r} of {each.spec.config} acts with {mark.option!r}"
                there = mark.option in fields and mark.option != name
                expect(there, f"{label}, no other option")
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
            fix = "use a type of vqcore.plugin.bounds, or Annotated[..., Field(ge=..., le=...)]"
            expect(not names, f"{each}: {each.spec.config} does not bound {names}; {fix}")

    @rule
    def test_constructors_take_their_options(self) -> None:
        """Each constructor takes every option as a keyword and requires only injected ones more."""
        for each in self._declared():
            label, passed = f"{each}: {each.spec.target}", self.injected(each.kind)
            model = each.model()
            options = set(model.constructor_options()) if model else set()
            parameters = inspect.signature(each.target()).parameters.values()
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
        registry, _ = self._loaded()
        for each in self._declared():
            passed = self.injected(each.kind)
            if passed is not None:
                name = f"{each.owner}/{each.spec.name}"
                choice = {"name": name, **self.required(each.kind, each.spec.name)}
                registry.build(registry.resolve(each.kind, choice), **passed)

    @rule
    def test_settings_have_defaults(self) -> None:
        """Every setting of the plugin itself has a default: a run need not give any."""
        for each in self._settings():
            for name, info in each.model().model_fields.items():
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

    def _imported_alone(self) -> tuple[str, FreshImport]:
        """What importing the plugin's modules and those of its options does, and what that is."""
        modules = list(self._modules())
        declared = [*self._declared(), *self._settings()]
        configs = {each.spec.config.partition(":")[0] for each in declared if each.spec.config}
        names = sorted({module.__name__ for module in modules} | configs)
        folders = [str(Path(module.__file__).parent) for module in modules if module.__file__]
        search_path = os.pathsep.join([*(p for p in sys.path if p), *folders])
        return f"importing {', '.join(names)}", imported(tuple(names), search_path)

    def _loaded(self) -> tuple[Registry, list[Plugin]]:
        """A registry with the plugin, and the plugin's records in it."""
        if self.plugin is not None:
            return registry_with([self._module()])
        expect(self.package, "neither plugin nor package is set")
        registry = self.registry()
        records = [record for record in registry.plugins if record.is_called(str(self.package))]
        expect(records, f"no plugin of {self.package!r} is found")
        return registry, records

    def _records(self) -> list[Plugin]:
        return self._loaded()[1]

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
        """The components of the plugins."""
        for record in self._records():
            if record.status not in ("ok", "clash"):
                fail(f"{record.plugin} is {record.status}: {record.error}")
            yield from components_of(record)

    def _settings(self) -> list[Declared]:
        """The settings of the plugins themselves."""
        return [each for record in self._records() for each in settings_of(record)]

    def _models(self) -> Iterator[tuple[Declared, Any]]:
        """The options models of components, and those of settings of the plugin itself."""
        for each in [*self._declared(), *self._settings()]:
            model = each.model()
            if model is not None:
                yield each, model
