"""Training curves from metrics.jsonl: loss terms, quality, codebook usage, learning rate, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from vqcore.plugin.report_section import Chart, Point, Section, Series, Text

if TYPE_CHECKING:
    from vq_report.reported_run import ReportedRun

Lines = Sequence[Mapping[str, Any]]

#: Charts of metrics that every run logs: title, unit, and the legend entry of each metric.
CHARTS: Sequence[tuple[str, str, dict[str, str]]] = (
    ("Held-out PSNR", "dB", {"test_psnr": "held out"}),
    ("Held-out accuracy", "", {"test_accuracy": "held out"}),
    ("Reconstruction loss", "", {"test_reconstruction": "held out", "reconstruction": "training"}),
    (
        "Perplexity of codebook usage",
        "codes",
        {"test_perplexity": "held out", "perplexity": "training"},
    ),
    ("Codes used", "codes", {"test_codes_used": "held out", "codes_used": "training"}),
    ("Quantization error", "", {"quantization_error": "training"}),
    ("Gradient norm", "", {"grad_norm": "training"}),
    ("Learning rate", "", {"lr": "learning rate"}),
    ("Speed", "samples/s", {"images_per_second": "training"}),
)
#: Counts that are 0 in a healthy run and drawn only if they are not.
COUNTS = {
    "replaced_codes": "Dead codes replaced since the line before",
    "bad_tokens": "Tokens with NaN, inf or huge numbers",
}
#: What can follow the loss terms in a line.
AFTER_TERMS = ("grad_norm", "perplexity", "images_per_second")
LEAD = (
    "Training metrics are means since the previous line; "
    "held-out metrics are computed on the whole held-out split."
)


def curves(runs: Sequence[ReportedRun]) -> Section:
    """All charts over training steps."""
    if not any(run.metrics for run in runs):
        return Section("Curves", [Text("Nothing has been logged yet.")])
    return Section("Curves", curve_charts({run.label: run.metrics for run in runs}), LEAD)


def curve_charts(runs: Mapping[str, Lines]) -> list[Chart]:
    """Charts of the lines of metrics.jsonl of each run.

    Several runs have one color each; dashed lines are training metrics then.
    """
    lines = [line for each in runs.values() for line in each]
    terms = list(dict.fromkeys(name for line in lines for name in loss_terms(line)))
    charts = _loss_charts(runs, terms)
    for title, unit, names in CHARTS:  # decibels have no zero to start at
        charts.append(_chart(runs, title, names, unit, zero=unit != "dB"))
    for name, title in COUNTS.items():
        if any(value for _, value in points(lines, name)):
            charts.append(_chart(runs, title, {name: "training"}, zero=True))
    return [chart for chart in charts if chart.series]


def loss_terms(line: Mapping[str, Any]) -> list[str]:
    """The loss terms of a line: what stands between their sum and the metrics that follow."""
    names = list(line)
    if "loss" not in line:
        return []
    return list(takewhile(lambda name: name not in AFTER_TERMS, names[names.index("loss") + 1 :]))


def points(lines: Lines, name: str) -> list[Point]:
    """(step, value) of each line that has a metric of this name."""
    return [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]


def _loss_charts(runs: Mapping[str, Lines], terms: Sequence[str]) -> list[Chart]:
    """One run: all terms in one chart. Several runs: one chart per term."""
    if len(runs) == 1:
        (lines,) = runs.values()
        series = [Series(name, points(lines, name)) for name in terms]
        return [Chart("Loss terms, weighted", series, x="step", log=_fits_log(runs, terms))]
    return [
        _chart(runs, title, {name: ""}, log=_fits_log(runs, [name]))
        for name, title in {"loss": "Loss", **{t: f"Loss term: {t}" for t in terms}}.items()
    ]


def _chart(
    runs: Mapping[str, Lines],
    title: str,
    names: Mapping[str, str],
    unit: str = "",
    *,
    log: bool = False,
    zero: bool = False,
) -> Chart:
    several = len(runs) > 1
    series = []
    for number, (run, lines) in enumerate(runs.items()):
        for place, (name, label) in enumerate(names.items()):
            color = None
            if several:  # the legend names runs; the note says what is dashed
                label = "" if place else run
                color = number
            if values := points(lines, name):
                series.append(Series(label, values, color=color, dashed=place > 0))
    note = f"Dashed: {list(names.values())[1]}." if several and len(names) > 1 else ""
    return Chart(title, series, x="step", y=unit, log=log, zero=zero, note=note)


def _fits_log(runs: Mapping[str, Lines], names: Sequence[str]) -> bool:
    """Whether a logarithmic axis shows something and hides nothing: an adversarial term may be < 0.

    Zeros are left out of it, such as those of a term before its first step.
    """
    values = [v for lines in runs.values() for name in names for _, v in points(lines, name)]
    return any(value > 0 for value in values) and not any(value < 0 for value in values)
