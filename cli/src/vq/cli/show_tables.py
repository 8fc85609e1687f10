"""What ``vq show`` prints, one function for each view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vq.config.run_settings import default_in_words
from vqcore.errors import printable
from vqcore.plugin.component import PLURALS

_NOTE = (
    "A setting is an option of vq train (--codebook-size 512), a key of --set and of config files "
    "(codebook_size=512), and an argument of vq.train in Python."
)
_Row = Mapping[str, Any]


def overview(names: Mapping[str, Sequence[str]]) -> RenderableType:
    """The names of all components by kind."""
    rows = [("run", "the settings of a run"), *((kind, ", ".join(names[kind])) for kind in names)]
    hint = "vq show NAME has the options of a component, or one setting or option."
    return Group(_table(("vq show", "lists"), rows), Text(hint, "dim"))


def settings(rows: Sequence[_Row]) -> RenderableType:
    """The settings of a run in their groups."""
    tables: list[RenderableType] = []
    widths = [max(len(text) for text in column) for column in zip(*map(_ends, rows), strict=True)]
    for title, group in groupby(rows, lambda row: row["group"]):
        table = Table(box=SIMPLE_HEAD)
        table.add_column(title, min_width=widths[0])
        table.add_column("default", min_width=widths[1])
        table.add_column("what it does", ratio=1)
        for row in group:
            kind = row["type"]
            values = f"the name of one: vq show {PLURALS[kind]}" if kind in PLURALS else kind
            table.add_row(*_ends(row), _described(row, f"{row['option']}, {values}"))
        tables.append(table)
    return Group(*tables, Text(_NOTE, "dim"))


def components(rows: Sequence[_Row]) -> RenderableType:
    """The components of a kind."""
    return _table(("name", "provided by", "what it is"), [tuple(row.values()) for row in rows])


def preset(values: _Row) -> RenderableType:
    """The settings of a preset, as in a config file."""
    return yaml.safe_dump(dict(values), sort_keys=False).rstrip()


def component(about: _Row) -> RenderableType:
    """A component with its options."""
    title = Text(f"{about['kind']} {about['name']}", "bold")
    title.append(printable(f": {about['summary']}", lines=True), "not bold")
    origin = Text(printable(f"from {about['package']} ({about['target']})"), "dim")
    if not about["options"]:
        return Group(title, origin, "It has no options.")
    rows = [
        (row["name"], row["type"], default_in_words(row), _described(row))
        for row in about["options"]
    ]
    return Group(title, origin, _table(("option", "type", "default", "what it does"), rows))


def plugins(rows: Sequence[_Row]) -> RenderableType:
    """All plugins, with what they provide."""
    cells = [
        (
            row["plugin"],
            f"{row['package']} {row['version']}",
            ", ".join(item["name"] for item in row["provides"]) or row["error"] or "",
        )
        for row in rows
    ]
    return _table(("name", "provided by", "components"), cells)


def plugin(about: _Row) -> RenderableType:
    """A plugin with its components, presets, hooks and settings."""
    title = Text(printable(f"plugin {about['plugin']}"), "bold")
    origin = Text(
        printable(f"from {about['package']} {about['version']}: {about['status']}"), "dim"
    )
    parts: list[RenderableType] = [title, origin]
    if about["requires"] or about["extras"]:
        wanted = f"requires {', '.join(about['requires']) or 'no version'}"
        extras = f"; extras: {', '.join(about['extras'])}" if about["extras"] else ""
        parts.append(Text(printable(wanted + extras), "dim"))
    for problem in (about["error"], *about["unmet"]):
        if problem:
            parts.append(Text(printable(problem, lines=True)))
    provided = [
        *((each["kind"], each["name"], each["summary"]) for each in about["provides"]),
        *(("preset", each["name"], each["summary"]) for each in about["presets"]),
    ]
    if provided:
        parts.append(_table(("kind", "name", "what it is"), provided))
    if about["hooks"]:
        parts.append(Text(f"hooks: {', '.join(about['hooks'])}"))
    if about["settings"]:
        rows = [
            (row["name"], row["type"], default_in_words(row), _described(row))
            for row in about["settings"]
        ]
        parts.append(_table(("setting", "type", "default", "what it does"), rows))
        first = about["settings"][0]
        hint = f"Set one with --{first['key']} VALUE, or {first['key']} in a config file."
        parts.append(Text(printable(hint), "dim"))
    return Group(*parts)


def options(rows: Sequence[_Row]) -> RenderableType:
    """An option of all components that have it."""
    cells = [
        (
            row["component"], default_in_words(row),
            _described(row, f"--{row['key']}, {row['type']}"),
        )
        for row in rows
    ]  # fmt: skip
    return _table((f"{rows[0]['name']} of", "default", "what it does"), cells)


def _ends(row: _Row) -> tuple[str, str]:
    return row["name"], default_in_words(row)


def _described(row: _Row, *facts: str) -> Text:
    """The description of an option, and below it in grey more about it."""
    if row["acts_with"]:
        facts = (*facts, f"acts with {' or '.join(row['acts_with'])}")
    text = Text(printable(row["description"], lines=True))
    return text.append(printable(f"\n{'; '.join(facts)}", lines=True), "dim") if facts else text


def _table(head: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
