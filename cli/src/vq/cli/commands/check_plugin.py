"""``vq check-plugin``: everything that the conformance kit can check of one plugin."""

import logging
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vq.cli.arguments import AsJson, argument, option
from vq.cli.completion.names import plugin_names
from vq.cli.console import print_json, say, shown_by, talking
from vq.cli.settings import pair
from vq.config.config_file import parse_value
from vqcore.errors import ComponentError, UsageError, shown

if TYPE_CHECKING:
    from vq.cli.checked_part import Checked

_OPTION = "An option of one of its components. Repeatable."
_SET = "A setting of the tiny runs that its hooks follow. Repeatable."
_SKIP = "A rule that is not checked. Repeatable."


def check_plugin(
    name: Annotated[
        str,
        argument("A package, a plugin, a module, or a plugin file (.py).", "PLUGIN", plugin_names),
    ],
    given: Annotated[
        list[str], option(_OPTION, "--option", metavar="[KIND.]NAME.OPTION=VALUE")
    ] = [],  # noqa: B006
    settings: Annotated[list[str], option(_SET, "--set", metavar="KEY=VALUE")] = [],  # noqa: B006
    skip: Annotated[list[str], option(_SKIP, "--skip", metavar="RULE")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Check a plugin: what it declares, its components, its hooks.

    Ends with exit code 1 if a rule is broken, and 3 if there is no such plugin or it cannot be
    loaded. What needs an option of yours, such as a folder, is not checked without it.
    """
    values, runs = _by_component(given), _values(settings)
    from vq.cli.plugin_check import checked, find_plugin
    from vq.progress import working

    registry, records = find_plugin(name)
    results: list[Checked] = []
    # what tiny runs say is no news, nor is a warning of torch
    quiet = warnings.catch_warnings(action="ignore", category=UserWarning)
    with talking(), working(f"checking {name}"), shown_by(logging.NullHandler()), quiet:
        for result in checked(registry, records, values, runs, skip):
            results.append(result)
    if as_json:
        print_json([result.row() for result in results])
    else:
        _print(results)
    unloaded = [record for record in records if record.status not in ("ok", "clash")]
    if unloaded:
        names = ", ".join(each.plugin for each in unloaded)
        raise ComponentError(f"{names}: not loaded, so nothing else is checked")
    if any(result.broken for result in results):
        raise typer.Exit(1)


def _values(texts: list[str]) -> dict[str, Any]:
    """Values as in YAML, by key path."""
    return {key: parse_value(value) for key, value in map(pair, texts)}


def _by_component(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Options, nested, by the name of their component."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in _values(texts).items():
        name, *inner = key.split(".")
        if not inner:
            raise UsageError(f"--option {shown(key)}: expected NAME.OPTION=VALUE")
        place = found.setdefault(name, {})
        for each in inner[:-1]:
            place = place.setdefault(each, {})
        place[inner[-1]] = value
    return found


def _print(results: "list[Checked]") -> None:
    """A table of what was checked, then each broken rule with its text."""
    from rich.text import Text

    from vq.cli.tables import fitting_tables
    from vq.terminal import Terminal

    colors = {"ok": "green", "not checked": "yellow", "broken": "red"}
    rows: list[list[Any]] = [["checked", "name", "rules", "broken", "status"]]
    for each in results:
        counts = [str(each.rules), str(len(each.broken))]
        rows.append([each.what, each.name, *counts, Text(each.status, colors[each.status])])
    console = Terminal()
    for table in fitting_tables(rows, console.width):
        console.print(table)
    for each in results:
        label = f"{each.what} {each.name}"
        for found, (first, *others) in each.by_cause().items():
            say(f"{label}: {first.rule}: {first.sentence}".replace("``", "`"))
            say(f"  found: {found}")
            if others:
                say(f"  the same breaks {', '.join(other.rule for other in others)}")
        if each.note:
            say(f"{label}: {each.note}")
        if each.unchecked:
            say(f"{label} is not checked: {each.unchecked}")
