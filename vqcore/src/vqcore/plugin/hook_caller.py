"""Calls the life-cycle hooks: those of callbacks, then those of plugins."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqcore.errors import ComponentError, SettingError, UsageError, did_you_mean, shown
from vqcore.plugin import hooks
from vqcore.plugin.blame import described
from vqcore.plugin.loader import DISABLE_VARIABLE
from vqcore.plugin.registry import Registry

_log = logging.getLogger(__name__)
#: The hooks that a callback may have methods for.
LIFE_CYCLE = ("vq_run_start", "vq_metrics", "vq_step_end", "vq_log", "vq_run_end")


@dataclass(frozen=True)
class _Listener:
    """An implementation of a hook; ``plugin`` is None for a callback's, ``owner`` names either."""

    function: Callable[..., Any]
    names: Collection[str]
    owner: str
    plugin: str | None = None

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        return self.function(**{name: arguments[name] for name in self.names})


class HookCaller:
    """Calls a hook of every callback, in their order, and then of every plugin.

    A callback is any object with methods that are named like life-cycle hooks. An implementation
    takes any of the hook's arguments, by name. An exception in a callback is the caller's, who
    chose it. A plugin is installed, not chosen, so its exception never ends a run: it is reported
    once, and the plugin is not called again. ``vq_run_end`` is called all the same, once for each
    implementation, whatever failed before: that is where files are closed.

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
        self._ends = list(self._listeners["vq_run_end"])

    def call(
        self, hook: str, read: Callable[[Any, str], Any] | None = None, **arguments: Any
    ) -> list[Any]:
        """The answers to a hook, without those that are None.

        ``read`` converts an answer, given it and who gave it in words; what it raises counts as the
        listener's mistake.
        """
        if hook == "vq_run_end":
            self._end(arguments)
            return []
        if hook not in self._listeners:
            self._listeners[hook] = list(self._find(hook))
        answers = []
        for listener in self._listeners[hook]:
            if listener.plugin in self._failed:
                continue
            try:
                answer = listener(arguments)
                if answer is not None:
                    answers.append(_understood(answer, listener, read) if read else answer)
            except (Exception, SystemExit) as error:
                if listener.plugin is None:
                    raise
                self._failed.add(listener.plugin)
                failed = f"{listener.owner} failed in {hook} and is not called again in this run"
                self._report(failed, error)
        return answers

    def check(self, hook: str, **arguments: Any) -> list[str]:
        """The sentences that a hook answers with, each with the plugin that says it.

        Raises:
            ComponentError: naming the plugin that answers with anything else, or raises.
        """
        sentences = []
        for listener in self._find(hook):
            try:
                sentences += [
                    f"{text} ({listener.owner})" for text in _refusals(listener, arguments)
                ]
            except (Exception, SystemExit) as error:
                fix = f"update the plugin, or leave it out with {DISABLE_VARIABLE}"
                text = f"{listener.owner} failed in {hook}: {described(error)}; {fix}"
                raise ComponentError(text) from error
        return sentences

    def _end(self, arguments: Mapping[str, Any]) -> None:
        """Call every ``vq_run_end`` that was not called yet.

        Raises:
            Exception: the first one of a callback, after all were called, unless the run failed
                already. The others are warnings.
        """
        first: BaseException | None = None
        while self._ends:
            listener = self._ends.pop(0)
            try:
                listener(arguments)
            except (Exception, SystemExit) as error:
                ends_run = listener.plugin is None and arguments["status"] != "failed"
                if ends_run and first is None:
                    first = error
                else:
                    self._report(f"{listener.owner} failed in vq_run_end", error)
        if first is not None:
            raise first

    def _report(self, what: str, error: BaseException) -> None:
        self._warn(f"{what}: {described(error)}")
        _log.debug(what, exc_info=error)

    def _find(self, hook: str) -> Iterator[_Listener]:
        for callback in self._callbacks:
            method = getattr(callback, hook, None)
            if method is not None:
                owner = f"callback {type(callback).__name__}"
                yield _Listener(method, _checked_names(method, hook), owner)
        if self._hooks is not None:
            for found in getattr(self._hooks, hook).get_hookimpls():
                name = found.plugin_name
                yield _Listener(found.function, found.argnames, f"plugin {name}", name)


def _understood(answer: Any, listener: _Listener, read: Callable[[Any, str], Any]) -> Any:
    try:
        return read(answer, listener.owner)
    except UsageError as error:
        if listener.plugin is None:  # the warning about a plugin names it anyway
            raise UsageError(f"{listener.owner}: {error}") from error
        raise


def _refusals(listener: _Listener, arguments: Mapping[str, Any]) -> list[str]:
    """What a check answers: sentences, one sentence, nothing, or a setting that it refuses."""
    try:
        answer = listener(arguments)
        if answer is None or isinstance(answer, str):
            return [answer] if answer else []
        if isinstance(answer, Iterable):
            return [str(text) for text in answer]
    except (SettingError, UsageError) as error:
        return [str(error)]
    raise TypeError(f"it returned {shown(answer)}, expected a list of sentences")


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
