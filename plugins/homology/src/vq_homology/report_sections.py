"""The section of ``vq report``: diagrams over training, barcodes, and curves beside perplexity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vq_homology.diagram_record import CLOUDS, longest
from vqcore.plugin.report_section import Block, Chart, Frames, Point, Section, Series

#: Diagrams over training, and longest bars of a barcode.
MOMENTS = 6
BARS = 40
H0, H1 = 0, 1
LEAD = (
    "Persistence of at most 256 codes and 256 latents; lengths are relative to the cloud's spread. "
    "H0: components, which die as they merge. H1: loops, which die when they are filled. "
    "Long-lived classes lie far above the diagonal."
)
#: Titles of curves, and their names in metrics.jsonl after that of the cloud.
CURVES = {"mean H0 death": "h0", "total H1 life": "h1", "persistent entropy": "persistent_entropy"}

Lines = Sequence[Mapping[str, Any]]


def sections(lines: Lines, metrics: Lines) -> list[Section]:
    """The section for a record (see ``diagram_record``) and metrics.jsonl; none if it is empty."""
    blocks: list[Block] = []
    for cloud in CLOUDS:
        recorded = [line for line in lines if cloud in line]
        if recorded:
            blocks += _blocks(cloud, recorded, metrics)
    return [Section("Persistent homology", blocks, LEAD)] if blocks else []


def _blocks(cloud: str, lines: Lines, metrics: Lines) -> list[Block]:
    name = cloud.capitalize()
    last = lines[-1][cloud]
    curves = [_curve(name, title, metrics, f"{cloud}_{key}") for title, key in CURVES.items()]
    return [
        Frames(f"{name}: persistence diagram after step", _diagrams(cloud, lines)),
        _barcode(f"{name}: H0 bars at the end", [(0.0, death) for death in last["h0"]], H0),
        _barcode(f"{name}: H1 bars at the end", last["h1"], H1),
        *(curve for curve in curves if curve.series),
    ]


def _diagrams(cloud: str, lines: Lines) -> list[tuple[str, Chart]]:
    """Diagrams of moments spread over the run, on the same axes."""
    count = min(MOMENTS, len(lines))
    chosen = [lines[round(k * (len(lines) - 1) / max(count - 1, 1))] for k in range(count)]
    deaths = [death for line in chosen for death in line[cloud]["h0"]]
    deaths += [death for line in chosen for _, death in line[cloud]["h1"]]
    widest = 1.05 * max(deaths, default=0) or 1.0
    extent = (-0.02 * widest, widest)
    return [(f"{line['step']:,}", _diagram(line[cloud], extent)) for line in chosen]


def _diagram(found: Mapping[str, Any], extent: Point) -> Chart:
    components = [(0.0, death) for death in found["h0"]]
    series = [
        Series("H0", components, "dots", H0, sizes=[2.4] * len(components)),
        Series("H1", found["h1"], "dots", H1, sizes=[2.4] * len(found["h1"])),
    ]
    chart = Chart("Persistence diagram", series, "birth / spread", "death / spread", diagonal=True)
    return replace(chart, x_range=extent, y_range=extent)


def _barcode(title: str, pairs: Sequence[Point], color: int) -> Chart:
    bars = longest(pairs, BARS)
    note = f"The longest {BARS} of {len(pairs)}." if len(pairs) > BARS else f"{len(pairs)} in all."
    return Chart(title, [Series("", bars, "intervals", color)], x="length / spread", note=note)


def _curve(cloud: str, title: str, metrics: Lines, name: str) -> Chart:
    """A metric over the steps, with perplexity on a second axis for comparison."""
    points = [(line["step"], line[name]) for line in metrics if name in line]
    perplexity = [(line["step"], line["perplexity"]) for line in metrics if "perplexity" in line]
    other = Series("perplexity", perplexity, color=-1, dashed=True, right=True)
    series = [Series(title, points), other] if points else []
    return Chart(f"{cloud}: {title}", series, "step", right="perplexity", zero=True)
