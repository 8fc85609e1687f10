"""What the runs of the experiment ``homology`` recorded: numbers at the end, curves, diagrams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from vq.runs.metric_lines import read_metric_lines
from vq_papers.experiments.homology import BOTH, OFF, OURS, PAPER, REPLACED
from vq_papers.results import Results, RowResult

if TYPE_CHECKING:
    import vq

#: What the homology plugin keeps in a run folder, and the clouds of points that it is of.
DIAGRAMS, CLOUDS = "homology.jsonl", ("codebook", "latents")
#: Labels of the rows drawn, and their colours.
_COLORS = {OFF: "#6b7280", PAPER: "#dc2626", OURS: "#d97706", REPLACED: "#2563eb", BOTH: "#059669"}
#: Keys of metrics.jsonl; only a row with a ratio of entropies has a strength.
_CURVES = {
    "perplexity": "perplexity",
    "homology_strength": "strength w",
    "codebook_h0": "codebook: mean H0 death / spread",
    "codebook_h1": "codebook: total H1 lifetime / spread",
    "codebook_persistent_entropy": "codebook: persistent entropy",
}


def measured(run: vq.TrainedRun) -> Mapping[str, float]:
    """Held-out numbers of the end of a run, and strength and homology of its last line."""
    last = run.history[-1]
    return {key: last[key] for key in _CURVES if key in last} | run.metrics


def curves(results: Results, folder: Path) -> None:
    """Utilisation, strength and homology over training: mean and range over the seeds."""
    rows = _drawn(results)
    size = (3.4 * len(_CURVES), 3 * len(rows))
    figure = Figure(figsize=size, dpi=90, layout="constrained")
    grid = figure.subplots(len(rows), len(_CURVES), squeeze=False)
    for line, (dataset, forms) in zip(grid, rows.items(), strict=True):
        for axes, (key, title) in zip(line, _CURVES.items(), strict=True):
            for label, row in forms.items():
                _band(axes, _over_training(row, folder, key), label)
            axes.set_title(f"{dataset}: {title}" if key == "perplexity" else title, fontsize=9)
            axes.set_xlabel("step", fontsize=8)
    grid[0][0].legend(fontsize=7, frameon=False)
    figure.savefig(folder / "homology-curves.png")


def _over_training(row: RowResult, folder: Path, key: str) -> dict[int, list[float]]:
    """The numbers of all seeds by step."""
    found: dict[int, list[float]] = defaultdict(list)
    for run in row.runs:
        for line in read_metric_lines(folder / run.folder / "metrics.jsonl").lines:
            if key in line:
                found[line["step"]].append(line[key])
    return found


def _band(axes: Any, values: Mapping[int, list[float]], label: str) -> None:
    color = _COLORS[label]
    means = [sum(each) / len(each) for each in values.values()]
    lowest, highest = (list(map(of, values.values())) for of in (min, max))
    axes.plot(list(values), means, color=color, label=label)
    axes.fill_between(list(values), lowest, highest, color=color, alpha=0.15, linewidth=0)


def diagrams(results: Results, folder: Path) -> None:
    """The first and the last diagram of the first seed: of the codebook, and of the latents."""
    panels = [(cloud, place) for cloud in CLOUDS for place in (0, -1)]
    for dataset, forms in _drawn(results).items():
        size = (3 * len(panels), 2.4 * len(forms))
        figure = Figure(figsize=size, dpi=80, layout="constrained")
        grid = figure.subplots(len(forms), len(panels), squeeze=False, sharex="col", sharey="col")
        for line, (label, row) in zip(grid, forms.items(), strict=True):
            record = _recorded(folder / row.runs[0].folder)
            for axes, (cloud, place) in zip(line, panels, strict=True):
                _diagram(axes, record[place][cloud])
                axes.set_title(f"{label}\n{cloud}, step {record[place]['step']}", fontsize=8)
        figure.savefig(folder / f"homology-diagrams-{dataset.lower()}.png")


def _recorded(run: Path) -> list[dict[str, Any]]:
    """The diagrams of a run; one of version 0.1 has them in its folder itself."""
    places = (run / "plugins" / "homology" / DIAGRAMS, run / DIAGRAMS)
    return read_metric_lines(next((each for each in places if each.exists()), places[0])).lines


def _diagram(axes: Any, found: Mapping[str, Any]) -> None:
    axes.scatter([0] * len(found["h0"]), found["h0"], s=5, color="#2563eb", label="H0")
    if found["h1"]:
        axes.scatter(*zip(*found["h1"], strict=True), s=5, color="#d97706", label="H1")
    longest = max([*found["h0"], *(death for _, death in found["h1"])], default=1.0)
    axes.plot([0, longest], [0, longest], color="#e5e7eb", zorder=0)
    axes.legend(fontsize=7, frameon=False, loc="lower right")


def _drawn(results: Results) -> dict[str, dict[str, RowResult]]:
    """The rows to draw, by data set and form."""
    found: dict[str, dict[str, RowResult]] = defaultdict(dict)
    for row in results.rows:
        dataset, label = row.label.split(": ", 1)
        if label in _COLORS and row.runs:
            found[dataset][label] = row
    return found
