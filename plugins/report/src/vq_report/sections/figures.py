"""What came out: the held-out figures of the end, or the last that were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vq_report.comparison import FINAL, Compared, Comparison
from vqcore.plugin.report_section import Block, Facts, Section, Strong, Table, Text

Figures = Mapping[str, Any]


def figures(comparison: Comparison) -> Section:
    """Large numbers of one run; a table of several, the best of each row picked out."""
    return Section(
        "Held-out figures",
        _of_one(*comparison.runs) if len(comparison.runs) == 1 else _table(comparison),
    )


def _of_one(run: Compared) -> list[Block]:
    found = run.figures
    if not found:
        return [Text("Nothing has been evaluated yet.")]
    items = [
        (title, write(found[name]), _of(name, found) or unit)
        for name, title, write, unit in _known(found)
        if name != "codebook_size"
    ]
    over = run.status in FINAL
    return [
        Facts(items),
        *(
            []
            if over
            else [Text("The run did not come to its end: these are the last it recorded.")]
        ),
    ]


def _table(comparison: Comparison) -> list[Block]:
    """A row a figure, a column a run."""
    rows = []
    for name, title, write, unit in _known(dict.fromkeys(comparison.figures)):
        values = [(run.name, run.figures.get(name)) for run in comparison.runs]
        best = comparison.best.get(name, ())
        cells = [
            (Strong if run in best else str)("–" if value is None else write(value))
            for run, value in values
        ]
        rows.append([f"{title}, {unit}" if unit else title, *cells])
    blocks: list[Block] = [Table(["", *(run.name for run in comparison.runs)], rows)]
    if not comparison.same_data:
        blocks.append(
            Text(
                "The runs were judged on different held-out samples, so no figure is picked out as the best."
            )
        )
    return blocks


def _known(found: Figures) -> list[tuple[str, str, Callable[[float], str], str]]:
    """Those that are there: name, title, how the value is written, and its unit."""
    return [(name, *shown) for name, shown in SHOWN.items() if name in found]


def _of(name: str, found: Figures) -> str:
    """Of how many codes."""
    if name not in ("perplexity", "codes_used", "dead_codes") or "codebook_size" not in found:
        return ""
    books = found.get("codebooks", 1)
    return f"of {found['codebook_size']:,}" + (f", mean of {books}" if books > 1 else "")


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{digits}f}"


def _significant(value: float) -> str:
    return f"{value:.3g}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


#: Title, how a value is written, and its unit.
SHOWN: Mapping[str, tuple[str, Callable[[float], str], str]] = {
    "psnr": ("PSNR", _decimals(2), "dB"),
    "mse": ("Mean squared error", _significant, ""),
    "perplexity": ("Perplexity", _decimals(1), ""),
    "codes_used": ("Codes used", _decimals(0), ""),
    "dead_codes": ("Dead codes", _decimals(0), ""),
    "quantization_error": ("Quantization error", _significant, ""),
    "codebook_size": ("Codes in a codebook", _decimals(0), ""),
    "steps": ("Steps", _decimals(0), ""),
    "seconds": ("Time", _duration, ""),
    "images_per_second": ("Speed", _decimals(0), "samples/s"),
    "samples": ("Held out", _decimals(0), "samples"),
}
