"""Tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from vqcore.errors import printable


def fitting_tables(rows: Sequence[Sequence[str | Text]], width: int, keep: int = 1) -> list[Table]:
    """One table of rows of cells, or where it is too wide, several of some columns each.

    The first row is the header. Every table repeats the first ``keep`` columns. A ``str`` is no
    markup; a cell with a style is a ``Text``.
    """
    texts = [[_as_text(cell) for cell in row] for row in rows]
    sizes = [3 + max(cell.cell_len for cell in column) for column in zip(*texts, strict=True)]
    parts = [[*range(keep)]]
    for index in range(keep, len(sizes)):
        if len(parts[-1]) > keep and sum(sizes[i] for i in (*parts[-1], index)) >= width:
            parts.append([*range(keep)])
        parts[-1].append(index)
    return [_table([[row[i] for i in part] for row in texts]) for part in parts]


def folding_table(*names: str | Text) -> Table:
    """An empty table of these columns, in which no text is cut."""
    return Table(*(Column(name, overflow="fold") for name in names), box=SIMPLE_HEAD)


def _as_text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell, lines=True))


def _table(rows: Sequence[Sequence[Text]]) -> Table:
    table = folding_table(*rows[0])
    for row in rows[1:]:
        table.add_row(*row)
    return table
