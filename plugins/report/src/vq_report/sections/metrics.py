"""The held-out metrics at the end of the run, or the last that were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from vq_report.compared_run import FINAL, ComparedRun
from vq_report.comparison import Comparison
from vq_report.sections.settings import MISSING
from vqcore.plugin.report_section import Block, Facts, Section, Strong, Table, Text


@dataclass(frozen=True)
class MetricFormat:
    """How a metric is shown."""

    title: str
    write: Callable[[float], str]
    unit: str = ""


def metrics(comparison: Comparison) -> Section:
    """One run: large numbers. Several: a table with the best of each row highlighted."""
    alone = len(comparison.runs) == 1
    blocks = _facts(comparison.runs[0]) if alone else _table(comparison)
    return Section("Held-out metrics", blocks)


def _facts(run: ComparedRun) -> list[Block]:
    if not run.metrics:
        return [Text("Nothing has been evaluated yet.")]
    facts = [
        (form.title, form.write(run.metrics[name]), _detail(name, run.metrics) or form.unit)
        for name, form in _shown(run.metrics)
        if name != "codebook_size"
    ]
    blocks: list[Block] = [Facts(facts)]
    if run.status not in FINAL:
        blocks.append(Text("The run is not finished: these are the last metrics it recorded."))
    return blocks


def _table(comparison: Comparison) -> list[Block]:
    """A row per metric, a column per run."""
    rows = []
    for name, form in _shown(comparison.metrics):
        cells: list[str] = []
        for run in comparison.runs:
            text = form.write(run.metrics[name]) if name in run.metrics else MISSING
            cells.append(Strong(text) if run.name in comparison.best.get(name, ()) else text)
        rows.append([f"{form.title}, {form.unit}" if form.unit else form.title, *cells])
    blocks: list[Block] = [Table(["", *(run.name for run in comparison.runs)], rows)]
    if not comparison.same_data:
        reason = "The runs were evaluated on different held-out samples"
        blocks.append(Text(f"{reason}, so no metric is highlighted as the best."))
    return blocks


def _shown(names: Collection[str]) -> list[tuple[str, MetricFormat]]:
    return [(name, form) for name, form in FORMATS.items() if name in names]


def _detail(name: str, values: Mapping[str, float]) -> str:
    """Of how many codes."""
    if name not in ("perplexity", "codes_used", "dead_codes") or "codebook_size" not in values:
        return ""
    codebooks = values.get("codebooks", 1)
    mean = f", mean of {codebooks}" if codebooks > 1 else ""
    return f"of {values['codebook_size']:,}{mean}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


FORMATS: Mapping[str, MetricFormat] = {
    "psnr": MetricFormat("PSNR", "{:,.2f}".format, "dB"),
    "mse": MetricFormat("Mean squared error", "{:.3g}".format),
    "accuracy": MetricFormat("Accuracy", "{:.2%}".format),
    "cross_entropy": MetricFormat("Cross-entropy", "{:.3g}".format, "nats"),
    "perplexity": MetricFormat("Perplexity", "{:,.1f}".format),
    "codes_used": MetricFormat("Codes used", "{:,.0f}".format),
    "dead_codes": MetricFormat("Dead codes", "{:,.0f}".format),
    "quantization_error": MetricFormat("Quantization error", "{:.3g}".format),
    "codebook_size": MetricFormat("Codebook size", "{:,.0f}".format),
    "steps": MetricFormat("Steps", "{:,.0f}".format),
    "seconds": MetricFormat("Time", _duration),
    "images_per_second": MetricFormat("Speed", "{:,.0f}".format, "samples/s"),
    "samples": MetricFormat("Held out", "{:,.0f}".format, "samples"),
}
