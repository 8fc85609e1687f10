"""What came out: the held-out figures of the end, or the last that were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vq.pipeline.report.run import ReportedRun
from vqcore.report import Block, Facts, Section, Strong, Table, Text

Figures = Mapping[str, Any]


def figures(runs: Sequence[ReportedRun]) -> Section:
    """Large numbers of one run; a table of several, the best of each row picked out."""
    found = [last_figures(run) for run in runs]
    if len(runs) > 1:
        return Section("Held-out figures", [_table(runs, found)])
    if not found[0]:
        return Section("Held-out figures", [Text("Nothing has been evaluated yet.")])
    shown: list[Block] = [Facts([_fact(name, found[0]) for name in SHOWN if name in found[0]])]
    if "since" in found[0]:
        shown.append(Text(f"The run left no summary: these were recorded at step {found[0]['since']:,}."))
    return Section("Held-out figures", shown)


def last_figures(run: ReportedRun) -> Figures:
    """summary.json, or the held-out figures of metrics.jsonl with the step they are ``since``."""
    summary = run.json("summary")
    if summary:
        return summary
    lines = [line for line in run.metrics if any(name.startswith("test_") for name in line)]
    if not lines:
        return {}
    return {name.removeprefix("test_"): value for name, value in lines[-1].items() if name.startswith("test_")} | {
        "since": lines[-1]["step"]
    }


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{digits}f}"


def _significant(value: float) -> str:
    return f"{value:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


#: Name, how its value is written, its unit, and whether more is better (None: neither).
SHOWN: Mapping[str, tuple[str, Callable[[float], str], str, bool | None]] = {
    "psnr": ("PSNR", _decimals(2), "dB", True),
    "mse": ("Mean squared error", _significant, "", False),
    "perplexity": ("Perplexity", _decimals(1), "", True),
    "codes_used": ("Codes used", _decimals(0), "", True),
    "dead_codes": ("Dead codes", _decimals(0), "", False),
    "quantization_error": ("Quantization error", _significant, "", None),
    "steps": ("Steps", _decimals(0), "", None),
    "seconds": ("Time", _duration, "", None),
    "images_per_second": ("Speed", _decimals(0), "samples/s", None),
    "samples": ("Held out", _decimals(0), "samples", None),
}


def _fact(name: str, found: Figures) -> tuple[str, str, str]:
    title, write, unit, _ = SHOWN[name]
    return title, _written(found[name], write), _of(name, found) or unit


def _of(name: str, found: Figures) -> str:
    if name not in ("perplexity", "codes_used", "dead_codes") or "codebook_size" not in found:
        return ""
    books = found.get("codebooks", 1)
    return f"of {found['codebook_size']:,}" + (f", mean of {books}" if books > 1 else "")


def _table(runs: Sequence[ReportedRun], found: Sequence[Figures]) -> Table:
    rows = []
    for name in SHOWN:
        values = [figures.get(name) for figures in found]
        if any(value is not None for value in values):
            title, _, unit, _ = SHOWN[name]
            rows.append([f"{title}, {unit}" if unit else title, *_row(name, values)])
    sizes = [figures.get("codebook_size") for figures in found]
    rows.append(["Codes in a codebook", *("–" if size is None else f"{size:,}" for size in sizes)])
    return Table(["", *(run.label for run in runs)], rows)


def _row(name: str, values: Sequence[Any]) -> list[str]:
    _, write, _, more = SHOWN[name]
    known = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    best = None if more is None or len(set(known)) < 2 else (max if more else min)(known)
    texts = [_written(value, write) for value in values]
    return [Strong(text) if value == best is not None else text for text, value in zip(texts, values, strict=True)]


def _written(value: Any, write: Callable[[float], str]) -> str:
    if not isinstance(value, int | float):
        return "–"
    return write(value) if math.isfinite(value) else str(value)
