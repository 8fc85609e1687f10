"""The runs on which hooks are checked: with and without a plugin, and however they end."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from vq.runs.trained_run import TrainedRun
from vq.testing.tiny import tiny_run
from vqcore.plugin.hook_caller import LIFE_CYCLE
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry
from vqcore.testing.loaded import module_of, registry_with, replaced
from vqcore.testing.waits import waits

#: Steps of a run, the step at which one is stopped, and that of the checkpoint before.
STEPS, STOPPED, SAVED = 12, 11, 8
#: How a run may end before its last step.
ENDS = ("failed", "interrupted")


class Stopped(Exception):
    """Ends a run as a mistake would."""


@dataclass
class Followed:
    """A run that a plugin followed.

    Attributes:
        path: the run folder.
        run: the run, None of one that failed.
        faults: what the library warned of about the plugin.
        left_open: files of the run folder that are open after it.
        waits: what would wait for a GPU in each step that is not logged.
    """

    path: Path
    run: TrainedRun | None = None
    faults: list[str] = field(default_factory=list)
    left_open: list[str] = field(default_factory=list)
    waits: dict[int, list[str]] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """The content of every file by its path in the run folder."""
        found = (path for path in sorted(self.path.rglob("*")) if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in found}


class FollowedRuns:
    """Runs with the same settings, each trained when it is asked for.

    Args:
        plugin: the module whose hooks follow them.
        settings: of the runs; they override those that make the runs tiny.
    """

    def __init__(self, plugin: ModuleType | str, settings: Mapping[str, Any]) -> None:
        self.plugin = plugin
        self.settings = {"checkpoint_every": SAVED, **settings}
        self._place = TemporaryDirectory(ignore_cleanup_errors=True)
        self.folder = Path(self._place.name)

    def registry(self) -> tuple[Registry, Plugin]:
        """The installed plugins with this one, and its record."""
        registry, (record,) = registry_with([self.plugin], disabled=self._left_out)
        return registry, record

    @cached_property
    def name(self) -> str:
        """That of the plugin."""
        return self.registry()[1].plugin

    @cached_property
    def without(self) -> TrainedRun:
        """A run that no hook of the plugin follows; its components are there."""
        registry, record = self.registry()
        module = module_of(registry, record)
        if module is None:
            raise AssertionError(f"{record.plugin} is {record.status}: {record.error}")
        silent = ModuleType(module.__name__)
        names = vars(module).keys() - set(LIFE_CYCLE)
        vars(silent).update({name: vars(module)[name] for name in names})
        replaced(registry, record, silent)
        return tiny_run(self.folder / "without", self.settings, steps=STEPS, registry=registry)

    @cached_property
    def whole(self) -> Followed:
        """A run to its end."""
        followed = Followed(self.folder / "whole")
        registry, record = self.registry()
        clock = _Clock()
        module = module_of(registry, record)
        if module is not None and hasattr(module, "vq_step_end"):
            watched = ModuleType(module.__name__)
            vars(watched).update(vars(module))
            watched.vq_step_end = _watched(module.vq_step_end, clock, followed.waits)  # type: ignore[attr-defined]
            replaced(registry, record, watched)
        with _followed(followed):
            followed.run = tiny_run(
                followed.path, self.settings, steps=STEPS, registry=registry, callbacks=[clock]
            )
        return followed

    @cached_property
    def interrupted(self) -> Followed:
        """A run that Ctrl-C ends after ``STOPPED`` steps."""
        return self._stopped("interrupted", lambda: signal.raise_signal(signal.SIGINT))

    @cached_property
    def failed(self) -> Followed:
        """A run that fails in step ``STOPPED``, after the checkpoint of step ``SAVED``."""
        return self._stopped("failed", _fail)

    @cached_property
    def resumed(self) -> tuple[dict[str, bytes], Followed]:
        """The files that the failed run left, and the same run resumed to its end."""
        before = self.failed.files()
        followed = Followed(self.failed.path)
        registry, _ = self.registry()
        with _followed(followed):
            followed.run = tiny_run("", resume=self.failed.path, steps=STEPS, registry=registry)
        return before, followed

    def all(self) -> Iterator[tuple[str, Followed]]:
        """Every run that the plugin follows, and how it ended."""
        yield "done", self.whole
        yield "failed", self.failed
        yield "resumed", self.resumed[1]
        yield "interrupted", self.interrupted

    def _stopped(self, how: str, stop: Callable[[], object]) -> Followed:
        followed = Followed(self.folder / how)
        registry, _ = self.registry()
        with _followed(followed), suppress(Stopped):
            followed.run = tiny_run(
                followed.path, self.settings, steps=STEPS, registry=registry,
                callbacks=[_StopAt(stop)],
            )  # fmt: skip
        return followed

    @property
    def _left_out(self) -> Sequence[str]:
        """The plugin that draws pictures, unless it is the one that is checked."""
        name = self.plugin if isinstance(self.plugin, str) else self.plugin.__name__
        return () if name == "vq_report.plugin" else ("report",)


#: The runs that the rules of a plugin look at one after the other.
_SHARED: dict[str, FollowedRuns] = {}


def followed_runs(plugin: ModuleType | str, settings: Mapping[str, Any]) -> FollowedRuns:
    """The runs of a plugin, the same ones for all of its rules."""
    key = repr((plugin, sorted(settings.items())))
    if key not in _SHARED:
        _SHARED.clear()
        _SHARED[key] = FollowedRuns(plugin, settings)
    return _SHARED[key]


class _Clock:
    """Knows the step, whatever arguments a hook takes."""

    step = 0

    def vq_step_end(self, step: int) -> None:
        """Callbacks are called before plugins."""
        self.step = step


class _StopAt:
    def __init__(self, stop: Callable[[], object]) -> None:
        self.stop = stop

    def vq_step_end(self, step: int) -> None:
        """Stop the run in its step."""
        if step == STOPPED:
            self.stop()


def _fail() -> None:
    raise Stopped


def _watched(
    hook: Callable[..., Any], clock: _Clock, found: dict[int, list[str]]
) -> Callable[..., Any]:
    """A hook that notes what would wait for a GPU on steps that are not logged."""

    @functools.wraps(hook)  # pluggy reads the arguments of what is wrapped
    def call(*arguments: Any, **named: Any) -> Any:
        if clock.step % 2 == 0 or clock.step == 1:  # the first one may prepare something
            return hook(*arguments, **named)
        with waits() as noted:
            answer = hook(*arguments, **named)
        found[clock.step] = list(noted)
        return answer

    return call


@contextmanager
def _followed(followed: Followed) -> Iterator[None]:
    """Inside, note what the library warns of; after, which files are open."""
    handler = _Faults(followed.faults)
    log = logging.getLogger("vqcore"), logging.getLogger("vq")
    for each in log:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in log:
            each.removeHandler(handler)
        gc.collect()
        followed.left_open.extend(_open_below(followed.path))


class _Faults(logging.Handler):
    """Keeps the warnings that name a plugin's hook."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message of ``HookCaller``."""
        text = record.getMessage()
        if text.startswith("plugin ") and " failed in vq_" in text:
            self.found.append(text)


def _open_below(folder: Path) -> list[str]:
    """The files in a folder that this process has open; none where the system does not tell."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return []
    names = []
    for number in numbers:
        with suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.is_relative_to(folder.resolve()):
                names.append(path.relative_to(folder.resolve()).as_posix())
    return sorted(names)
