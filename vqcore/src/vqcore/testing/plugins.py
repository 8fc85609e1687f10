"""What every plugin must hold: how it declares what it provides."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import Quantizer
from vqcore.interfaces.regularizer import Regularizer
from vqcore.plugin import hooks
from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.component_config import ComponentConfig, descriptions
from vqcore.plugin.loader import Loader, Plugin
from vqcore.plugin.registry import Registry, default_registry, inner_kinds
from vqcore.testing.rules import expect, fail, rule

#: The interface of each kind whose targets are classes of the core's.
BASES: dict[str, type] = {
    "manifold": Manifold,
    "quantizer": Quantizer,
    "estimator": GradientEstimator,
    "regularizer": Regularizer,
}
#: Imports the modules named in argv, in an interpreter of its own, and tells whether torch came along.
_PROBE = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print('torch' in sys.modules)"


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
        package: instead, the package (or plugin) whose record in ``registry()`` is meant.
        torch_free: whether plugin and config modules must not import torch; False for a plugin in a single file that
            holds its classes too.
    """

    plugin: ModuleType | str | None = None
    package: str | None = None
    torch_free: bool = True

    def registry(self) -> Registry:
        """Where ``package`` is looked up: the installed plugins."""
        return default_registry()

    def required(self, kind: str, name: str) -> dict[str, Any]:
        """Values for the options of a component that have no default."""
        return {}

    def injected(self, kind: str) -> dict[str, Any] | None:
        """What the builder gives a component of this kind beside its options; None where it is not built here."""
        sizes = {"dim": 8, "codebook_size": 16, "manifold": Euclidean()}
        return {
            "manifold": {},
            "quantizer": sizes,
            "estimator": {"manifold": sizes["manifold"]},
            "regularizer": {},
            "optimizer": {"params": [nn.Parameter(torch.zeros(3))]},
        }.get(kind)

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
        """The plugin loads without an error or a clash, and provides a component or follows a run."""
        _, records = self._loaded()
        for record in records:
            expect(record.status == "ok", f"{record.plugin} is {record.status}: {record.error}")
        marked = [
            name for module in self._modules() for name in vars(module) if name.startswith("vq_")
        ]
        expect(marked, "no hook")

    @rule
    def test_import_is_torch_free(self) -> None:
        """Plugin and config modules import no torch, so that listing plugins and validating options stay fast."""
        if not self.torch_free:
            return
        modules = list(self._modules())
        names = {module.__name__ for module in modules}
        names |= {
            each.spec.config.partition(":")[0] for each in self._declared() if each.spec.config
        }
        folders = [str(Path(module.__file__).parent) for module in modules if module.__file__]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*(p for p in sys.path if p), *folders]),
        }
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, *sorted(names)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        named = ", ".join(sorted(names))
        expect(done.returncode == 0, f"importing {named} failed: {done.stderr.strip()[-300:]}")
        expect(done.stdout.split()[-1:] == ["False"], f"importing {named} imports torch")

    # -- what it declares ----------------------------------------------------

    @rule
    def test_specs_are_valid(self) -> None:
        """Each component has a name of its own in its kind and a summary of one line."""
        declared = list(self._declared())
        for each in declared:
            twice = [
                other
                for other in declared
                if (other.kind, other.spec.name) == (each.kind, each.spec.name)
            ]
            expect(len(twice) == 1, f"{each} is declared {len(twice)} times")
            summary = each.spec.summary
            expect(
                "\n" not in summary and len(summary) <= 100,
                f"{each}: a summary of more than a line: {summary!r}",
            )

    @rule
    def test_targets_fit_their_kind(self) -> None:
        """Each target can be imported and is a class of its kind's interface with nothing left abstract."""
        for each in self._declared():
            target, base = _imported(each.spec.target, each), BASES.get(each.kind)
            if base is None:
                expect(callable(target), f"{each}: {each.spec.target} cannot be called")
                continue
            right = isinstance(target, type) and issubclass(target, base)
            expect(right, f"{each}: {each.spec.target} is no {base.__module__}.{base.__name__}")
            left = sorted(getattr(target, "__abstractmethods__", ()))
            expect(not left, f"{each}: {each.spec.target} leaves {', '.join(left)} abstract")

    @rule
    def test_options_are_a_model(self) -> None:
        """Options are a ComponentConfig: unknown keys are refused and values cannot be changed."""
        for each, model in self._models():
            right = isinstance(model, type) and issubclass(model, ComponentConfig)
            expect(right, f"{each}: {each.spec.config} is no vqcore.ComponentConfig")
            settings = model.model_config
            strict = settings.get("extra") == "forbid" and settings.get("frozen")
            expect(strict, f"{each}: {each.spec.config} lets unknown keys or changes through")

    @rule
    def test_options_are_described(self) -> None:
        """Every option has a description: a string below its field."""
        for each, model in self._models():
            told = descriptions(model)
            for name, info in model.model_fields.items():
                text = told.get(name) or info.description or ""
                expect(
                    text.strip(), f"{each}: option {name!r} of {each.spec.config} is not described"
                )

    @rule
    def test_constructors_take_their_options(self) -> None:
        """Each constructor takes every option as a keyword, and what is injected, and asks for nothing else."""
        for each in self._declared():
            target = _imported(each.spec.target, each)
            options = _imported(each.spec.config, each).model_fields if each.spec.config else {}
            given = {*options, *(self.injected(each.kind) or {})}
            parameters = inspect.signature(target).parameters.values()
            takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
            known = {
                p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            }
            if not takes_any:
                refused = sorted({*options} - known)
                expect(
                    not refused, f"{each}: {each.spec.target} does not take {', '.join(refused)}"
                )
            asked = {p.name for p in parameters if p.default is p.empty and p.name in known}
            expect(
                self.injected(each.kind) is None or asked <= given,
                f"{each}: {each.spec.target} asks for {', '.join(sorted(asked - given))}, which is no option",
            )

    @rule
    def test_defaults_build(self) -> None:
        """Each component is built by its name alone, or with the ``required`` options where some have no default."""
        registry, records = self._loaded()
        for record in records:
            for each in _declared_by(record):
                name, injected = f"{record.package}/{each.spec.name}", self.injected(each.kind)
                if injected is not None:
                    choice = {"name": name, **self.required(each.kind, each.spec.name)}
                    registry.build(registry.resolve(each.kind, choice), **injected)

    @rule
    def test_inner_components_have_defaults(self) -> None:
        """An option that chooses another component has a default that is known, so that the name alone is enough."""
        registry, _ = self._loaded()
        for each, model in self._models():
            for name, kind in inner_kinds(model).items():
                info = model.model_fields[name]
                expect(not info.is_required(), f"{each}: option {name!r} has no default")
                registry.resolve(kind, info.get_default(call_default_factory=True))

    # -- what the checks are made of -----------------------------------------

    def _loaded(self) -> tuple[Registry, list[Plugin]]:
        """A registry that knows the plugin, and its records in it."""
        if self.plugin is not None:
            return _registry_with(self._module())
        expect(self.package, "neither plugin nor package is set")
        registry = self.registry()
        records = [record for record in registry.plugins if record.is_called(str(self.package))]
        expect(records, f"no plugin of {self.package!r} is found")
        return registry, records

    def _module(self) -> ModuleType:
        return importlib.import_module(self.plugin) if isinstance(self.plugin, str) else self.plugin

    def _modules(self) -> Iterator[ModuleType]:
        """The plugin's modules: one, or where a package is meant those of its plugins."""
        if self.plugin is not None:
            yield self._module()
            return
        registry, records = self._loaded()
        for record in records:
            module = registry.manager.get_plugin(f"{record.package}:{record.plugin}")
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
        for each in self._declared():
            if each.spec.config is not None:
                yield each, _imported(each.spec.config, each)


def _declared_by(record: Plugin) -> list[Declared]:
    return [Declared(kind, spec) for kind, specs in record.provides.items() for spec in specs]


def _registry_with(module: ModuleType) -> tuple[Registry, list[Plugin]]:
    """The installed plugins and a module that may or may not be one of them, with the module's record."""
    loader = Loader(discover=True)
    for record in loader.plugins:
        if loader.manager.get_plugin(f"{record.package}:{record.plugin}") is module:
            return _registry_of(loader), [record]
    record = Plugin(module.__name__.rpartition(".")[2], module.__name__.partition(".")[0], "0")
    loader._load(record, lambda: module)
    return _registry_of(loader), [record]


def _registry_of(loader: Loader) -> Registry:
    registry = Registry(discover=False)
    registry.manager, registry.plugins = loader.manager, loader.plugins
    registry._mark_clashes()
    return registry


def _imported(location: str, each: Declared) -> Any:
    name, _, attribute = location.partition(":")
    try:
        return getattr(importlib.import_module(name), attribute)
    except Exception as error:
        fail(f"{each}: {location} cannot be imported: {type(error).__name__}: {error}")
