"""The commands that plugins add. A plugin that fails here adds none, and none takes another's name.

Each plugin's hook gets an app of its own, whose commands are then added to ours: so it cannot
change or replace what others have added, whatever order they come in.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import redirect_stdout
from typing import Any

import typer
from typer.main import get_command_name

from vqcore.errors import ComponentError
from vqcore.plugin.blame import described
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry

_HOOK = "vq_commands"


def add_plugin_commands(app: typer.Typer, registry: Registry, ours: Collection[str]) -> None:
    """Add the commands of all plugins.

    A plugin that raises, or adds a command that is called like one of ``ours``, counts as broken.
    A command that several plugins add is refused when it is called.
    """
    added = _added(registry, ours)
    claims = Counter(name for _, own in added for name in set(_names(own)))
    for _, own in added:
        app.registered_commands += [
            each for each in own.registered_commands if claims[_name(each)] == 1
        ]
        app.registered_groups += [
            each for each in own.registered_groups if claims[_name(each)] == 1
        ]
    for name in sorted(name for name, count in claims.items() if count > 1):
        packages = [plugin.package for plugin, own in added if name in _names(own)]
        summary = f"Several plugins have this command: {', '.join(packages)}."
        app.command(name, help=summary, context_settings={"ignore_unknown_options": True})(
            _refusal(name, packages)
        )


def missing_commands(registry: Registry) -> str:
    """Names the plugins that are not loaded, or whose hook fails; empty without any."""
    names = [
        plugin.plugin
        for plugin in registry.plugins
        if plugin.status in ("error", "incompatible") or (plugin.error or "").startswith(_HOOK)
    ]
    if not names:
        return ""
    return f"Commands may be missing. Not loaded: {', '.join(names)} (vq list-plugins says why)."


def _added(registry: Registry, ours: Collection[str]) -> list[tuple[Plugin, typer.Typer]]:
    plugins = {f"{plugin.package}:{plugin.plugin}": plugin for plugin in registry.plugins}
    added = []
    for found in registry.manager.hook.vq_commands.get_hookimpls():
        plugin, own = plugins[found.plugin_name], typer.Typer()
        try:
            with redirect_stdout(sys.stderr):
                found.function(own)
        except (Exception, SystemExit) as error:  # a broken plugin must not remove our commands
            plugin.fail("error", f"{_HOOK}: {described(error)}", error)
            continue
        if taken := sorted(set(ours) & set(_names(own))):
            text = f"{_HOOK} adds {', '.join(taken)}, which vq has itself; rename it"
            plugin.fail("clash", text)
        else:
            added.append((plugin, own))
    return added


def _names(app: typer.Typer) -> list[str]:
    return [_name(each) for each in (*app.registered_commands, *app.registered_groups)]


def _name(info: Any) -> str:
    """What a command or a group is called on the command line."""
    if info.name:
        return str(info.name)
    inner = getattr(info, "typer_instance", None)  # of a group
    return str(inner.info.name) if inner else get_command_name(info.callback.__name__)


def _refusal(name: str, packages: list[str]) -> Callable[[list[str]], None]:
    def refuse(arguments: list[str] = typer.Argument(None)) -> None:  # noqa: B008 - Typer's form
        both, fix = " and ".join(packages), f"vq -p no:{packages[0]} {name} ..."
        raise ComponentError(f"command {name}: {both} provide it; turn one off, as in {fix}")

    return refuse
