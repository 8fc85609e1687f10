"""The curves of several runs in shared panels: ``vq compare -o FILE``."""

from __future__ import annotations

from collections.abc import Sequence

from vq_report.charts.palette import COLORS
from vq_report.charts.png import charts_png
from vq_report.compared_run import ComparedRun
from vq_report.sections.curves import points
from vqcore.plugin.report_section import Chart, Series

#: Name in metrics.jsonl, title, and whether the axis is logarithmic.
PANELS = (
    ("reconstruction", "Reconstruction loss, training", True),
    ("classification", "Classification loss, training", True),
    ("test_psnr", "Held-out PSNR, dB", False),
    ("test_accuracy", "Held-out accuracy", False),
    ("test_perplexity", "Held-out perplexity", False),
)


def comparison_png(runs: Sequence[ComparedRun]) -> bytes:
    """The bytes of a PNG file; beyond the palette's colors, lines are dashed.

    It has the panels of what a run has logged.
    """
    charts = []
    logged = {name for run in runs for line in run.lines for name in line}
    known = [panel for panel in PANELS if panel[0] in logged]
    for name, title, log in known or PANELS:
        series = [
            Series(run.name, points(run.lines, name), dashed=bool(number // len(COLORS) % 2))
            for number, run in enumerate(runs)
        ]
        charts.append(Chart(title, series, x="step", log=log))
    return charts_png(charts, columns=len(charts))
