"""Calls the life-cycle hooks: those of callbacks, then those of plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vqcore.errors import UsageError, did_you_mean
from vqcore.plugin import hooks
from vqcore.plugin.loader import describe_error
from vqcore.plugin.registry import Registry

#: The hooks that a callback may have methods for.
LIFE_CYCLE = ("vq_run_start", "vq_metrics", "vq_step_end", "vq_log", "vq_run_end")


@dataclass(frozen=True)
class _Listener:
    """An implementation of a hook; ``plugin`` is None for a callback's."""

    function: Callable[..., Any]
    names: Collection[str]
    plugin: str | None = None


class HookCaller:
    """Calls a hook of every callback, in their order, and then of every plugin.

    A callback is any object with methods that are named like life-cycle hooks. An implementation
    takes any of the hook's arguments, by name. An exception in a callback is the caller's, who
    chose it. A plugin is installed, not chosen, so its exception never ends a run: it is reported
    once, and the plugin is not called again.

    Args:
        registry: whose plugins are called; None calls callbacks alone.
        warn: receives the message about each plugin that failed.
        callbacks: called before the plugins.

    Raises:
        UsageError: for a callback without a method of a life-cycle hook, with a misspelt one, or
            with an argument that its hook does not have.
    """

    def __init__(
        self,
        registry: Registry | None,
        warn: Callable[[str], object],
        callbacks: Sequence[object] = (),
    ) -> None:
        self._hooks = registry.manager.hook if registry else None
        self._warn = warn
        self._callbacks = [_checked(callback) for callback in callbacks]
        self._failed: set[str] = set()
        self._listeners = {hook: list(self._find(hook)) for hook in LIFE_CYCLE}

    def call(
        self, hook: str, read: Callable[[Any], Any] | None = None, **arguments: Any
    ) -> list[Any]:
        """The answers to a hook, without those that are None.

        ``read`` converts an answer; what it raises counts as the listener's mistake.
        """
        if hook not in self._listeners:
            self._listeners[hook] = list(self._find(hook))
        answers = []
        for listener in self._listeners[hook]:
            if listener.plugin in self._failed:
                continue
            try:
                wanted = {name: arguments[name] for name in listener.names}
                answer = listener.function(**wanted)
                if answer is not None:
                    answers.append(read(answer) if read else answer)
            except (Exception, SystemExit) as error:
                if listener.plugin is None:
                    raise
                self._failed.add(listener.plugin)
                self._warn(
                    f"plugin {listener.plugin} failed in {hook} and is not called again in this "
                    f"run: {describe_error(error)}"
                )
        return answers

    def _find(self, hook: str) -> Iterator[_Listener]:
        for callback in self._callbacks:
            method = getattr(callback, hook, None)
            if method is not None:
                yield _Listener(method, _checked_names(method, hook))
        if self._hooks is not None:
            for found in getattr(self._hooks, hook).get_hookimpls():
                yield _Listener(found.function, found.argnames, found.plugin_name)


def _checked(callback: object) -> object:
    names = [name for name in dir(callback) if name.startswith("vq_")]
    unknown = [name for name in names if name not in LIFE_CYCLE]
    if isinstance(callback, type):
        raise UsageError(f"callbacks: expected objects, found the class {callback.__name__}")
    if unknown or not names:
        found = f"{type(callback).__name__}.{unknown[0]}" if unknown else repr(callback)
        known = ", ".join(LIFE_CYCLE)
        hint = did_you_mean(unknown[0], LIFE_CYCLE) if unknown else ""
        hint = hint or f"expected methods named like life-cycle hooks: {known}"
        raise UsageError(f"callbacks: {found}: {hint}")
    return callback


def _checked_names(method: Callable[..., Any], hook: str) -> list[str]:
    known = inspect.signature(getattr(hooks, hook)).parameters
    names = list(inspect.signature(method).parameters)
    if not known.keys() >= set(names):
        owner = type(getattr(method, "__self__", method)).__name__
        expected = ", ".join(known)
        raise UsageError(f"{owner}.{hook}({', '.join(names)}): expected only {expected}")
    return names
