"""The runs on which hooks are checked: with and without a plugin, and however they end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from vq.runs.trained_run import TrainedRun
from vq.testing.observed import Clock, Followed, noting_waits, observed
from vq.testing.tiny import tiny_run
from vqcore.plugin.hook_caller import LIFE_CYCLE
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry
from vqcore.testing.loaded import module_of, registry_with, replaced
from vqcore.testing.rules import fail

#: Steps of a run, the step at which one is stopped, and that of the checkpoint before.
STEPS, STOPPED, SAVED = 12, 11, 8


class Stopped(Exception):
    """Ends a run as a mistake would."""


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
    def module(self) -> ModuleType:
        """That of the plugin, loaded."""
        registry, record = self.registry()
        module = module_of(registry, record)
        if module is None:
            fail(f"{record.plugin} is {record.status}: {record.error}")
        return module

    @property
    def also_writes(self) -> Sequence[str]:
        """Patterns of files that the plugin's module says it writes outside of its folder."""
        return getattr(self.module, "VQ_WRITES", ())

    @cached_property
    def without(self) -> TrainedRun:
        """A run that no hook of the plugin follows; its components are there."""
        registry = self._registry_with(dict.fromkeys(LIFE_CYCLE))
        return tiny_run(self.folder / "without", self.settings, steps=STEPS, registry=registry)

    @cached_property
    def whole(self) -> Followed:
        """A run to its end."""
        followed = Followed(self.folder / "whole")
        clock, hook = Clock(), getattr(self.module, "vq_step_end", None)
        changes = {"vq_step_end": noting_waits(hook, clock, followed.waits)} if hook else {}
        registry = self._registry_with(changes)
        with observed(followed):
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
        with observed(followed):
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
        with observed(followed), suppress(Stopped):
            followed.run = tiny_run(
                followed.path, self.settings, steps=STEPS, registry=registry,
                callbacks=[_StopAt(stop)],
            )  # fmt: skip
        return followed

    def _registry_with(self, changes: Mapping[str, Any]) -> Registry:
        """``registry`` with the plugin's module changed: other functions, or None for no hook."""
        registry, record = self.registry()
        changed = ModuleType(self.module.__name__)
        names = {**vars(self.module), **changes}
        vars(changed).update({name: each for name, each in names.items() if each is not None})
        replaced(registry, record, changed)
        return registry

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


class _StopAt:
    def __init__(self, stop: Callable[[], object]) -> None:
        self.stop = stop

    def vq_step_end(self, step: int) -> None:
        """Stop the run in its step."""
        if step == STOPPED:
            self.stop()


def _fail() -> None:
    raise Stopped
