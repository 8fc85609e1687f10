"""Where plugins are, as entry points of installed packages and as files; imports their modules."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from vqcore.errors import describe_error, shown
from vqcore.plugin.plugin_module import Refused

ENTRY_POINT_GROUP = "vqcore"


def entry_points() -> list[tuple[str, str, metadata.EntryPoint]]:
    """Package, version and entry point of every installed plugin, in the order of loading."""
    found = [(*_package(entry), entry) for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    return sorted(found, key=lambda each: (each[0], each[2].name))


def _package(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of an entry point's package; ``?`` if its metadata is damaged."""
    try:
        distribution: Any = entry.dist
        about = distribution.metadata  # parsed again at each access
        return about["Name"] or "?", about["Version"] or "?"
    except Exception:  # half-removed packages: each Python version fails in its own way
        return "?", "?"


def import_entry(entry: metadata.EntryPoint) -> ModuleType:
    """The module that an entry point names.

    Raises:
        Refused: naming the entry point if it leads nowhere, or the required vqcore if this one
            lacks what the module imports of it.
    """
    place = f"entry point {entry.name} = {entry.value} of {ENTRY_POINT_GROUP!r}"
    name, _, attribute = entry.value.partition("[")[0].replace(" ", "").partition(":")
    try:
        module: Any = importlib.import_module(name)
    except ImportError as error:
        missing = error.name or ""
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{missing}."):
            raise Refused("error", f"{place}: no module {missing!r}") from error
        if missing.partition(".")[0] == "vqcore":
            text = f"{describe_error(error)}; {_required(entry)}"
            raise Refused("incompatible", text) from error
        raise
    for part in attribute.split(".") if attribute else ():
        module = getattr(module, part, None)
    if not isinstance(module, ModuleType):
        raise Refused("error", f"{place}: expected a module, found {shown(module)}")
    return module


def _required(entry: metadata.EntryPoint) -> str:
    """Which vqcore a plugin's package asks for, and which one this is."""
    requirements = entry.dist.requires or () if entry.dist else ()
    asked = [each for each in requirements if re.match(r"vqcore(?![\w.-])", each)]
    needs = f"the plugin requires {asked[0]}, and " if asked else ""
    return f"{needs}this is vqcore {metadata.version('vqcore')}"


def import_file(path: Path) -> ModuleType:
    """The module in a plugin file, under its stem: its ``stem:Class`` targets can be imported.

    Raises:
        FileNotFoundError: if there is no such file.
        Refused: if it is no Python file, or another module has its name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such plugin file: {path}")
    if path.suffix != ".py" or not path.stem.isidentifier():
        expected = "expected a Python file named like a module, as in my_plugin.py"
        raise Refused("error", f"{path}: {expected}")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and _is_at(path, getattr(loaded, "__file__", None)):
        return loaded
    found = None if loaded is not None else importlib.util.find_spec(path.stem)
    if loaded is not None or (found is not None and not _is_at(path, found.origin)):
        text = f"the name {path.stem!r} is taken by another module: rename the file"
        raise Refused("error", text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise Refused("error", f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _is_at(path: Path, file: str | None) -> bool:
    return file is not None and Path(file).resolve() == path.resolve()
