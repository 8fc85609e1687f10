"""``vq list-plugins``: the plugins, what they provide, and why a broken one is broken."""

from typing import Annotated, Any

import typer

from vq.cli.arguments import AsJson, PluginFiles, option
from vq.cli.completion.names import kinds
from vq.cli.console import print_json, say
from vq.cli.plugin_wants import wants
from vq.config.plugin_files import registry_for
from vq.runs.plugin_rows import plugin_rows
from vqcore.errors import UsageError, did_you_mean, shown
from vqcore.plugin.component import KINDS

#: Named explicitly: from a metavar KIND, Typer would derive an option --KIND.
_Kind = Annotated[
    str | None,
    option(f"Only this kind: {', '.join(KINDS)}.", "--kind", metavar="KIND", candidates=kinds),
]

#: Columns of a line that nothing limits.
_ENDLESS = 10_000


def list_plugins(
    kind: _Kind = None,
    as_json: AsJson = False,
    check: Annotated[
        bool, option("Build every component; exit 1 if one fails.", "--check")
    ] = False,
    verbose: Annotated[
        bool, option("Also what each plugin requires, and its extras.", "--verbose")
    ] = False,
    plugin_file: PluginFiles = [],  # noqa: B006 - typer copies it
) -> None:
    """List the plugins and what they provide.

    The status tells why a broken one is not loaded, and what a plugin wants that is not installed.
    """
    if kind is not None:
        check_kind("--kind", kind)
    registry = registry_for(plugin_file, tolerant=True)
    failures: list[str] = []
    if check:
        from vq.cli.component_check import broken_components, notes

        for note in notes(registry, kind):
            say(f"warning: {note}", error=True)
        failures = broken_components(registry, kind)
    rows = [
        row | wants(plugin).values()
        for plugin, row in zip(registry.plugins, plugin_rows(registry, kind), strict=True)
    ]
    if as_json:
        print_json(rows)
    else:
        _print_tables(rows, verbose=verbose)
    for failure in failures:
        say(f"broken: {failure}", error=True)
    unloaded = any(plugin.status not in ("ok", "disabled") for plugin in registry.plugins)
    if failures or (check and unloaded):
        raise typer.Exit(1)


def check_kind(option: str, kind: str) -> None:
    """Refuse what is not a kind of component.

    Raises:
        UsageError: with the kinds that there are.
    """
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"expected one of {', '.join(KINDS)}"
        raise UsageError(f"{option} = {shown(kind)}: {hint}")


def _print_tables(rows: list[dict[str, Any]], *, verbose: bool) -> None:
    from rich.text import Text

    from vq.cli.tables import folding_table
    from vq.terminal import Terminal

    kinds = list(KINDS)
    provided = [
        (kinds.index(item["kind"]), item["kind"], item["name"], row["package"], item["summary"])
        for row in rows
        for item in row["provides"]
    ]
    components = folding_table("kind", "name", "provided by", "summary")
    for _, *cells in sorted(provided):
        components.add_row(*cells)
    plugins = folding_table("plugin", "package", "version", "status", "why")
    for row in rows:
        color = {"ok": "green", "disabled": "yellow"}.get(row["status"], "red")
        names = [row[key] for key in ("plugin", "package", "version")]
        why = "\n".join([*([row["error"]] if row["error"] else []), *row["unmet"]])
        plugins.add_row(*names, Text(row["status"], color), why)
    console = Terminal()
    if console.is_endless:
        console.width = _ENDLESS
    console.print(components)
    console.print(plugins)
    if verbose:
        wanted = folding_table("plugin", "VQ_API", "requires", "extras")
        for row in rows:
            api = "" if row["api"] is None else str(row["api"])
            wanted.add_row(row["plugin"], api, *(", ".join(row[k]) for k in ("requires", "extras")))
        console.print(wanted)
