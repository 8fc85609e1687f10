"""``vq show``: the options of one component."""

from typing import Annotated, Any

import typer

from vq.cli.arguments import AsJson, PluginFiles, argument
from vq.cli.commands.list_plugins import check_kind
from vq.cli.console import print_json
from vq.config.plugin_files import registry_for
from vqcore.plugin.component import KINDS


def show(
    kind: Annotated[str, argument(f"One of {', '.join(KINDS)}.", "KIND")],
    name: Annotated[str, typer.Argument(help="Its name, or package/name.")],
    as_json: AsJson = False,
    plugin_file: PluginFiles = [],  # noqa: B006 - typer copies it
) -> None:
    """Show a component's options: types, defaults, what each does."""
    check_kind("KIND", kind)
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
        print_json(about)
    else:
        _print(about)


def _print(about: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from vq.terminal import Terminal

    console = Terminal()
    title = (f"{about['kind']} {about['name']}", "bold")
    console.print(Text.assemble(title, f": {about['summary']}"))
    console.print(f"from {about['package']} ({about['target']})", style="dim")
    if not about["options"]:
        console.print("It has no options.")
        return
    table = Table("option", "type", "default", "what it does", box=SIMPLE_HEAD)
    for option in about["options"]:
        default = "required" if option["required"] else _text(option["default"])
        table.add_row(option["name"], option["type"], default, option["description"])
    console.print(table)


def _text(value: Any) -> str:
    return value["name"] if isinstance(value, dict) and "name" in value else str(value)
