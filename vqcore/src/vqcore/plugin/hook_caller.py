"""Calling the life-cycle hooks: a plugin that fails in one is told about and left alone for the rest of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vqcore.plugin.loader import describe
from vqcore.plugin.registry import Registry


class HookCaller:
    """Calls each plugin's hook by itself, so that one plugin's mistake never ends another user's run.

    Args:
        registry: whose plugins are called.
        warn: told once about each plugin that failed.
    """

    def __init__(self, registry: Registry, warn: Callable[[str], None]) -> None:
        self.manager, self.warn = registry.manager, warn
        self._failed: set[str] = set()

    def listens(self, hook: str) -> bool:
        """Whether any plugin implements the hook."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def call(
        self, hook: str, read: Callable[[Any], Any] | None = None, **arguments: Any
    ) -> list[Any]:
        """The answers of the plugins that implement the hook, None left out; ``read`` takes each, and may refuse it."""
        answers = []
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            if name in self._failed:
                continue
            try:
                wanted = {key: arguments[key] for key in implementation.argnames}
                answer = implementation.function(**wanted)
                if answer is not None:
                    answers.append(read(answer) if read else answer)
            except (Exception, SystemExit) as error:
                self._failed.add(name)
                self.warn(
                    f"plugin {name} failed in {hook} and is not called again in this run: {describe(error)}"
                )
        return answers
