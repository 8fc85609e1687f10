"""Finding and loading plugins one at a time: a broken one is recorded and stops no other."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from vqcore.errors import shown
from vqcore.plugin import hooks
from vqcore.plugin.blame import described
from vqcore.plugin.component import KINDS, ComponentSpec, PresetSpec
from vqcore.plugin.discovery import entry_points, import_entry, import_file
from vqcore.plugin.plugin_module import Refused, check_module, declared_settings, declared_specs

DISABLE_VARIABLE = "VQ_DISABLE_PLUGINS"
_log = logging.getLogger(__name__)


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


def _normal(name: str) -> str:
    return name.replace("_", "-").lower()


def owner_of(package: str) -> str:
    """What stands before the slash in a component's name: the package, or ``my_plugin.py``."""
    return Path(package).name


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
        for package, version, entry in entry_points() if discover else ():
            self.load(Plugin(entry.name, package, version), partial(import_entry, entry))
        for path in dict.fromkeys(files):
            self.load(Plugin(path.stem, str(path), "file"), partial(import_file, path))

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
                self._register(record, importer(), key)
        except KeyboardInterrupt:
            raise
        except Refused as error:
            record.fail(error.status, str(error), error)
        except BaseException as error:  # also SystemExit: a plugin must not end the program
            record.fail("error", described(error), error)
        if record.status != "ok" and self.manager.has_plugin(key):
            self.manager.unregister(name=key)
        if printed.getvalue():
            record.notes.append(f"prints when it is loaded: {shown(printed.getvalue())}")
        if without_torch and "torch" in sys.modules and record.version != "file":
            record.notes.append("imports torch when it is loaded, which slows down every command")

    def _register(self, record: Plugin, module: ModuleType, key: str) -> None:
        """Let the manager have a plugin's module, and record what it declares.

        Raises:
            Refused: if it breaks a rule of the interface.
        """
        api = getattr(module, "VQ_API", None)
        record.api = api if type(api) is int else None
        check_module(module)
        if record.api in hooks.ACCEPTED:
            until = hooks.ACCEPTED[record.api]
            text = f"is of VQ_API = {record.api}, which vqcore {until} will not accept"
            record.earlier = (f"{text}; upgrade it",)
        self.manager.register(module, key)
        self.manager.check_pending()

        def functions(hook: str) -> list[Callable[..., Any]]:
            found = self.manager.hook.__dict__[hook].get_hookimpls()
            return [each.function for each in found if each.plugin is module]

        for kind, hook in KINDS.items():
            if specs := declared_specs(hook, functions(hook), ComponentSpec):
                record.provides[kind] = specs
        record.presets = declared_specs("vq_presets", functions("vq_presets"), PresetSpec)
        record.settings = declared_settings(functions("vq_settings"), record.plugin)
