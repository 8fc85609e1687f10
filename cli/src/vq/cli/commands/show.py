"""``vq show``: the options of one component."""

import sys
from typing import Annotated, Any

import typer

from vq.cli.arguments import PluginFiles
from vq.config.plugin_files import registry_for
from vqcore.errors import UsageError, did_you_mean
from vqcore.plugin.component import KINDS


def show(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.", metavar="KIND")],
    name: Annotated[str, typer.Argument(help="Its name, or package/name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    plugin_file: PluginFiles = [],  # noqa: B006 - typer copies it
) -> None:
    """Show a component's options: types, defaults, what each does."""
    if kind not in KINDS:
        raise UsageError(
            f"KIND = {kind!r}: {did_you_mean(kind, KINDS) or 'expected one of ' + ', '.join(KINDS)}"
        )
    registry = registry_for(plugin_file)
    plugin, spec = registry.find(kind, name)
    about = {
        "kind": kind,
        "name": spec.name,
        "summary": spec.summary,
        "plugin": plugin.plugin,
        "package": plugin.package,
        "target": spec.target,
        "options": registry.options(kind, name),
    }
    if as_json:
        import json

        sys.stdout.write(json.dumps(about, indent=2) + "\n")
    else:
        _print(about)


def _print(about: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(
        f"[bold]{about['kind']} {about['name']}[/]: {escape(about['summary'])}", highlight=False
    )
    console.print(
        f"from {escape(about['package'])} ({about['target']})", highlight=False, style="dim"
    )
    if not about["options"]:
        console.print("It has no options.")
        return
    table = Table("option", "type", "default", "what it does", box=SIMPLE_HEAD)
    for option in about["options"]:
        default = "required" if option["required"] else _text(option["default"])
        table.add_row(
            option["name"], escape(option["type"]), escape(default), escape(option["description"])
        )
    console.print(table)


def _text(value: Any) -> str:
    return value["name"] if isinstance(value, dict) and "name" in value else str(value)
