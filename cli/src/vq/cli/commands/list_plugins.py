"""``vq list-plugins``: who provides what, and what is broken and why."""

import sys
from typing import Annotated, Any

import typer

from vq.cli.arguments import PluginFiles, plugin_rows
from vq.config.plugin_files import registry_for
from vqcore.errors import UsageError, did_you_mean
from vqcore.plugin.component import KINDS
from vqcore.plugin.registry import Registry

#: Spelt out: Typer would take an option's name from a metavar of the same letters, and call it --KIND.
_Kind = Annotated[
    str | None, typer.Option("--kind", help=f"Only this kind: {', '.join(KINDS)}.", metavar="KIND")
]


def list_plugins(
    kind: _Kind = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Build every component; exit 1 if one fails.")
    ] = False,
    plugin_file: PluginFiles = [],  # noqa: B006 - typer copies it
) -> None:
    """List the plugins, what they provide, and what is broken and why."""
    if kind is not None and kind not in KINDS:
        raise UsageError(
            f"--kind = {kind!r}: {did_you_mean(kind, KINDS) or 'expected one of ' + ', '.join(KINDS)}"
        )
    registry = registry_for(plugin_file, tolerant=True)
    failures = _check(registry, kind) if check else []
    rows = plugin_rows(registry, kind)
    if as_json:
        import json

        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _print_tables(rows)
    for failure in failures:
        print(f"broken: {failure}", file=sys.stderr)
    unloaded = check and any(plugin.status not in ("ok", "disabled") for plugin in registry.plugins)
    if failures or unloaded:
        raise typer.Exit(1)


def _check(registry: Registry, kind: str | None) -> list[str]:
    from vq.cli.component_check import broken_components

    return broken_components(registry, kind)


def _print_tables(rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    components = Table("kind", "name", "provided by", "summary", box=SIMPLE_HEAD)
    provided = [(item, row) for row in rows for item in row["provides"]]
    for item, row in sorted(
        provided, key=lambda pair: (list(KINDS).index(pair[0]["kind"]), pair[0]["name"])
    ):
        components.add_row(
            *map(escape, (item["kind"], item["name"], row["package"], item["summary"]))
        )
    plugins = Table("plugin", "package", "version", "status", "why", box=SIMPLE_HEAD)
    for row in rows:
        color = {"ok": "green", "disabled": "yellow"}.get(row["status"], "red")
        cells = [escape(row[key]) for key in ("plugin", "package", "version")]
        plugins.add_row(*cells, f"[{color}]{row['status']}[/]", escape(row["error"] or ""))
    console = Console()
    console.print(components)
    console.print(plugins)
