"""Finding and loading plugins one at a time: a broken one is recorded and stops no other."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from vqcore.errors import did_you_mean, printable, shortened, shown
from vqcore.plugin import hooks
from vqcore.plugin.component import KINDS, ComponentSpec, PresetSpec, is_location

ENTRY_POINT_GROUP = "vqcore"
DISABLE_VARIABLE = "VQ_DISABLE_PLUGINS"
_log = logging.getLogger(__name__)
Spec = TypeVar("Spec", ComponentSpec, PresetSpec)
HOOK_NAMES = frozenset(name for name in vars(hooks) if name.startswith("vq_"))


@dataclass
class Plugin:
    """One plugin and how loading it went.

    ``status`` is ok, disabled, error, incompatible (``VQ_API`` absent or of another version, or
    what it imports of vqcore is missing) or clash (another package provides one of its names too).
    ``error`` is the reason unless it is ok. ``settings`` is the location of the model of its own
    settings. ``earlier`` says so if it is of an earlier interface that is accepted for a while.
    ``notes`` are faults that stop nothing.
    """

    plugin: str
    package: str
    version: str
    api: int | None = None
    status: str = "ok"
    error: str | None = None
    provides: dict[str, tuple[ComponentSpec, ...]] = field(default_factory=dict)
    presets: tuple[PresetSpec, ...] = ()
    settings: str | None = None
    earlier: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def fail(self, status: str, error: str, cause: BaseException | None = None) -> None:
        """Record a failure and withdraw what the plugin provided."""
        if cause is not None:
            _log.debug(f"plugin {self.plugin} of {self.package} failed", exc_info=cause)
        self.status = status
        self.error = error
        self.provides, self.presets, self.settings = {}, (), None

    def owns(self, name: str) -> bool:
        """Whether ``name`` is its package's, or that of its file."""
        return _normal(name) in {_normal(self.package), _normal(owner_of(self.package))}

    def is_called(self, name: str) -> bool:
        """Whether ``name`` means this plugin: its own name or its package's."""
        return self.owns(name) or _normal(name) == _normal(self.plugin)


class _Printed(io.StringIO):
    """A stdout that goes to stderr, also for what keeps it, and remembers what came."""

    def write(self, text: str) -> int:
        """Pass the text on."""
        sys.stderr.write(text)
        return super().write(text)


class Refused(Exception):
    """A plugin that was imported but breaks a rule of the interface."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _normal(name: str) -> str:
    return name.replace("_", "-").lower()


def owner_of(package: str) -> str:
    """What stands before the slash in a component's name: the package, or ``my_plugin.py``."""
    return Path(package).name


def describe_error(error: BaseException) -> str:
    """An exception in one line; a syntax error with its place."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    text = shortened(printable(" ".join(str(error).split())), 1000)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def disabled_names() -> list[str]:
    """Plugins or packages in ``VQ_DISABLE_PLUGINS``, separated by commas or spaces."""
    return os.environ.get(DISABLE_VARIABLE, "").replace(",", " ").split()


class Loader:
    """Loads plugins into a pluggy manager and keeps a record of each.

    Args:
        discover: load the installed plugins (entry-point group ``vqcore``).
        files: plugin files, loaded after the installed ones.
        disabled: plugin or package names that are recorded but not imported.
    """

    def __init__(
        self, *, discover: bool = True, files: Iterable[Path] = (), disabled: Iterable[str] = ()
    ) -> None:
        self.manager = pluggy.PluginManager(hooks.PROJECT)
        self.manager.add_hookspecs(hooks)
        self.plugins: list[Plugin] = []
        self._disabled = list(disabled)
        for package, version, entry in _entry_points() if discover else ():
            self.load(Plugin(entry.name, package, version), partial(_import_entry, entry))
        for path in dict.fromkeys(files):
            self.load(Plugin(path.stem, str(path), "file"), partial(_import_file, path))

    def load(self, record: Plugin, importer: Callable[[], Any]) -> None:
        """Load one plugin by calling ``importer``, and keep its record."""
        self.plugins.append(record)
        if any(record.is_called(name) for name in self._disabled):
            record.fail("disabled", f"named in {DISABLE_VARIABLE} or by vq -p no:NAME")
            return
        key = f"{record.package}:{record.plugin}"
        printed, without_torch = _Printed(), "torch" not in sys.modules
        try:
            with redirect_stdout(printed):  # stdout is the command's: --json, completion
                module = importer()
                api = getattr(module, "VQ_API", None)
                record.api = api if type(api) is int else None
                _check_module(module)
                if record.api in hooks.ACCEPTED:
                    until = hooks.ACCEPTED[record.api]
                    text = f"is of VQ_API = {record.api}, which vqcore {until} will not accept"
                    record.earlier = (f"{text}; upgrade it",)
                self.manager.register(module, key)
                self.manager.check_pending()
                record.provides = self._collect(module)
                record.presets = tuple(self._specs(module, "vq_presets", PresetSpec))
                record.settings = self._settings(module, record.plugin)
        except KeyboardInterrupt:
            raise
        except Refused as error:
            record.fail(error.status, str(error), error)
        except BaseException as error:  # also SystemExit: a plugin must not end the program
            record.fail("error", describe_error(error), error)
        if record.status != "ok" and self.manager.has_plugin(key):
            self.manager.unregister(name=key)
        if printed.getvalue():
            record.notes.append(f"prints when it is loaded: {shown(printed.getvalue())}")
        if without_torch and "torch" in sys.modules and record.version != "file":
            record.notes.append("imports torch when it is loaded, which slows down every command")

    def _collect(self, module: ModuleType) -> dict[str, tuple[ComponentSpec, ...]]:
        provides = {}
        for kind, hook in KINDS.items():
            specs = self._specs(module, hook, ComponentSpec)
            if specs:
                provides[kind] = tuple(specs)
        return provides

    def _specs(self, module: ModuleType, hook: str, kind: type[Spec]) -> list[Spec]:
        """What a module declares by a hook.

        Raises:
            Refused: for a declaration of another kind, or a name that it has twice.
        """
        specs: list[Spec] = []
        for function in self._functions(module, hook):
            for spec in _answer(hook, function, kind):
                if not isinstance(spec, kind):
                    text = f"{hook} yields {shown(spec)}: expected a {kind.__name__}"
                    raise Refused("error", text)
                specs.append(spec)
        names = [spec.name for spec in specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Refused("error", f"{hook} names {', '.join(twice)} twice")
        return specs

    def _settings(self, module: ModuleType, name: str) -> str | None:
        """Where the model of a plugin's own settings is.

        Raises:
            Refused: for what is no location, or a plugin whose name no key path can have.
        """
        for function in self._functions(module, "vq_settings"):
            try:
                location = function()
            except (Exception, SystemExit) as error:
                raise Refused("error", f"vq_settings: {describe_error(error)}") from error
            if not is_location(location):
                expected = "expected the location of a model, 'package.config:Model'"
                raise Refused("error", f"vq_settings returns {shown(location)}: {expected}")
            if not re.fullmatch(r"[\w-]+", name):
                expected = "expected letters, digits and hyphens, as in plugins.NAME.option"
                raise Refused("error", f"a plugin with settings is called {name!r}: {expected}")
            return str(location)
        return None

    def _functions(self, module: ModuleType, hook: str) -> list[Callable[..., Any]]:
        """What implements a hook in a module: one function, or none."""
        found = self.manager.hook.__dict__[hook].get_hookimpls()
        return [each.function for each in found if each.plugin is module]


def _answer(hook: str, function: Callable[[], Any], kind: type) -> list[Any]:
    """What a hook returns, as a list.

    Raises:
        Refused: naming the hook, if it raises or returns anything else.
    """
    try:
        specs = function()
        if isinstance(specs, Iterable):
            return list(specs)
    except (Exception, SystemExit) as error:
        raise Refused("error", f"{hook}: {describe_error(error)}") from error
    raise Refused("error", f"{hook} returns {shown(specs)}: expected a list of {kind.__name__}s")


def _entry_points() -> list[tuple[str, str, metadata.EntryPoint]]:
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


def _import_entry(entry: metadata.EntryPoint) -> ModuleType:
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


def _check_module(module: ModuleType) -> None:
    """Refuse a module without a valid ``VQ_API``, or with a hook that is not marked as one."""
    api = getattr(module, "VQ_API", None)
    if type(api) is not int:
        expected = f"expected VQ_API = {hooks.API_VERSION} in {module.__name__}"
        raise Refused("incompatible", f"VQ_API = {shown(api)}: {expected}")
    if api != hooks.API_VERSION and api not in hooks.ACCEPTED:
        fix = "upgrade vqcore" if api > hooks.API_VERSION else "upgrade the plugin"
        text = f"VQ_API = {api}: this vqcore supports version {hooks.API_VERSION}; {fix}"
        raise Refused("incompatible", text)
    for name in sorted(HOOK_NAMES & vars(module).keys()):
        function = vars(module)[name]
        if inspect.isfunction(function) and not hasattr(function, f"{hooks.PROJECT}_impl"):
            raise Refused("error", f"{name} is not marked: decorate it with @vqcore.hookimpl")
    for name, function in vars(module).items():
        if inspect.isfunction(function) and hasattr(function, f"{hooks.PROJECT}_impl"):
            _check_hook(name, function)


def _check_hook(name: str, function: Callable[..., Any]) -> None:
    """Refuse a marked function that is no hook, or takes an argument that its hook has not."""
    if name not in HOOK_NAMES:
        guess = did_you_mean(name, sorted(HOOK_NAMES)) or f"hooks: {', '.join(sorted(HOOK_NAMES))}"
        raise Refused("error", f"unknown hook {name!r}; {guess}")
    known = list(inspect.signature(getattr(hooks, name)).parameters)
    strange = [each for each in inspect.signature(function).parameters if each not in known]
    if strange:
        text = f"expected some of {', '.join(known)}" if known else "it has no arguments"
        raise Refused("error", f"{name} takes {', '.join(map(repr, strange))}: {text}")


def _import_file(path: Path) -> ModuleType:
    """Import a plugin file under its stem, so that its ``stem:Class`` targets can be imported."""
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
