"""What ``vq doctor`` prints: problems with their fixes, then the facts of each check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_STYLES = {"broken": "bold red", "warning": "yellow"}


def show_report(report: Mapping[str, Any]) -> RenderableType:
    """The report of ``vq.doctor.examine``: what is wrong first."""
    about = ("format", "status", "problems")
    checks = {name: facts for name, facts in report.items() if facts and name not in about}
    return Group(*_problems(report["problems"]), *map(_section, checks, checks.values()))


def _problems(problems: list[dict[str, str]]) -> Iterator[RenderableType]:
    if not problems:
        yield Text("no problems found", "green")
    for each in problems:
        severity = each["severity"]
        yield Text.assemble((f"{severity}: ", _STYLES[severity]), each["message"])
        yield Padding(Text(f"fix: {each['fix']}"), (0, 0, 0, 2))


def _section(name: str, facts: Any) -> RenderableType:
    rows = [_labelled(*each) for each in facts.items()] if isinstance(facts, dict) else _rows(facts)
    shown: RenderableType
    if name == "versions":
        shown = Columns([" ".join(row) for row in rows], padding=(0, 2))
    else:
        shown = Table.grid(padding=(0, 2))
        shown.add_column(no_wrap=True, style="dim")
        shown.add_column(overflow="fold")
        for row in rows:
            shown.add_row(*row)
    return Group(Text(f"\n{name}", "bold"), Padding(shown, (0, 0, 0, 2), expand=False))


def _rows(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """A row for each object, by its first value; plugins that are well are counted."""
    well = [item for item in items if item.get("status") == "ok"]
    rows = [_row(item) for item in items if item not in well]
    return [*rows, ("ok", f"{len(well)}{' others' if rows else ''}")] if well else rows


def _row(item: Mapping[str, Any]) -> tuple[str, str]:
    (_, name), *rest = item.items()
    known = (_labelled(*each) for each in rest if each[1] not in (None, [], ""))
    return str(name), "; ".join(" ".join(each) for each in known)


def _labelled(key: str, value: Any) -> tuple[str, str]:
    what, gib, _ = key.partition("_gib")
    return what if what.isupper() else what.replace(
        "_", " "
    ), f"{_words(value)}{' GiB' if gib else ''}"


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    names = {None: "-", True: "yes", False: "no"}
    return names[value] if value is None or isinstance(value, bool) else str(value)
