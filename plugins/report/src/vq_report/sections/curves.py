"""How training went: loss terms, quality, use of the codebook, learning rate and speed, from metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vq_report.plots.curves import terms_of
from vq_report.reported_run import ReportedRun
from vqcore.plugin.report_section import Chart, Section, Series, Text

#: Title and unit of the charts of figures that every run logs, with the names drawn in each and what they are called.
CHARTS: Sequence[tuple[str, str, dict[str, str]]] = (
    ("Held-out PSNR", "dB", {"test_psnr": "held out"}),
    (
        "Perplexity of code usage",
        "codes",
        {"test_perplexity": "held out", "perplexity": "training"},
    ),
    ("Codes used", "codes", {"test_codes_used": "held out", "codes_used": "training"}),
    ("Quantization error", "", {"quantization_error": "training"}),
    ("Norm of the gradient", "", {"grad_norm": "training"}),
    ("Learning rate", "", {"lr": "learning rate"}),
    ("Speed", "samples/s", {"images_per_second": "training"}),
)
#: Those whose axis need not begin at 0: decibels have no zero to begin at.
FREE = {"Held-out PSNR"}
#: Counts that are 0 in a run without trouble, and drawn only where they are not.
COUNTS = {
    "replaced_codes": "Dead codes replaced since the line before",
    "bad_tokens": "Tokens with NaN or inf",
}


def curves(runs: Sequence[ReportedRun]) -> Section:
    """Charts over the steps; of several runs one colour each, what is not held out dashed."""
    if not any(run.metrics for run in runs):
        return Section("Curves", [Text("Nothing has been logged yet.")])
    terms = list(
        dict.fromkeys(name for run in runs for line in run.metrics for name in terms_of(line))
    )
    charts = _losses(runs, terms) + [
        _chart(runs, *each, zero=each[0] not in FREE) for each in CHARTS
    ]
    occurring = {name: title for name, title in COUNTS.items() if _occurs(runs, name)}
    charts += [
        _chart(runs, title, "", {name: "training"}, zero=True) for name, title in occurring.items()
    ]
    lead = "Training figures are means since the line before; held-out ones are those of the whole held-out split."
    return Section("Curves", [chart for chart in charts if chart.series], lead)


def _losses(runs: Sequence[ReportedRun], terms: Sequence[str]) -> list[Chart]:
    """All terms of one run together; of several runs one chart a term."""
    if len(runs) == 1:
        series = [Series(name, points(runs[0], name)) for name in terms]
        return [Chart("Loss terms, weighted", series, x="step", log=_positive(series))]
    logs = {
        name: _positive(Series(name, points(run, name)) for run in runs)
        for name in ("loss", *terms)
    }
    titles = {name: "Loss" if name == "loss" else f"Loss term: {name}" for name in logs}
    return [_chart(runs, titles[name], "", {name: ""}, log=log) for name, log in logs.items()]


def _chart(
    runs: Sequence[ReportedRun], title: str, unit: str, names: dict[str, str], **axis: bool
) -> Chart:
    several, series = len(runs) > 1, []
    for number, run in enumerate(runs):
        for place, (name, called) in enumerate(names.items()):
            found = points(run, name)
            label = called if not several else run.label if place == 0 else ""
            if found:
                series.append(
                    Series(label, found, color=number if several else None, dashed=place > 0)
                )
    note = f"Dashed: {list(names.values())[1]}." if several and len(names) > 1 else ""
    return Chart(title, series, x="step", y=unit, note=note, **axis)


def points(run: ReportedRun, name: str) -> list[tuple[float, float]]:
    """(step, value) of each line that has a figure of this name."""
    return [
        (line["step"], line[name])
        for line in run.metrics
        if isinstance(line.get(name), int | float)
    ]


def _positive(series: Iterable[Series]) -> bool:
    return any(value > 0 for each in series for _, value in each.points)


def _occurs(runs: Sequence[ReportedRun], name: str) -> bool:
    return any(value for run in runs for _, value in points(run, name))
