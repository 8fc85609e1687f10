"""Registries with plugins that are to be tested, installed or not."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from vqcore.plugin.loader import Loader, Plugin, disabled_names
from vqcore.plugin.registry import Registry


def registry_with(
    plugins: Iterable[ModuleType | str] = (),
    *,
    files: Iterable[Path] = (),
    disabled: Iterable[str] = (),
) -> tuple[Registry, list[Plugin]]:
    """The installed plugins together with others, and the records of these others.

    Args:
        plugins: modules of plugins or their dotted names, installed or not. One that is not is
            called as its package: ``my-package`` for ``my_package.plugin``.
        files: plugin files.
        disabled: installed plugins or packages to leave out, beside those of the environment.
    """
    paths = [*files]
    loader = Loader(files=paths, disabled=[*disabled_names(), *disabled])
    found = [each for each in loader.plugins if Path(each.package) in paths]
    for plugin in plugins:
        module = importlib.import_module(plugin) if isinstance(plugin, str) else plugin
        found.append(_installed(loader, module) or _loaded(loader, module))
    return Registry(loader=loader), found


def module_of(registry: Registry, record: Plugin) -> ModuleType | None:
    """The module of a plugin, None if it is not loaded."""
    module: ModuleType | None = registry.manager.get_plugin(_key(record))
    return module


def replaced(registry: Registry, record: Plugin, module: ModuleType) -> None:
    """Let another module answer a plugin's hooks in this registry."""
    registry.manager.unregister(name=_key(record))
    registry.manager.register(module, _key(record))


def _key(record: Plugin) -> str:
    return f"{record.package}:{record.plugin}"


def _installed(loader: Loader, module: ModuleType) -> Plugin | None:
    for record in loader.plugins:
        if loader.manager.get_plugin(_key(record)) is module:
            return record
    return None


def _loaded(loader: Loader, module: ModuleType) -> Plugin:
    package, _, last = module.__name__.rpartition(".")
    name = package.rpartition(".")[2].replace("_", "-") if package and last == "plugin" else last
    record = Plugin(name, module.__name__.partition(".")[0], "0")
    loader.load(record, lambda: module)
    return record
