"""The section of ``vq report``: diagrams over training, barcodes, and curves beside perplexity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vqcore.plugin.report_section import Block, Chart, Frames, Point, Section, Series

#: Diagrams over training, and bars of a barcode at most: the longest.
MOMENTS, BARS = 6, 40
H0, H1 = 0, 1
LEAD = (
    "Persistence of at most 256 codes and 256 latents, lengths in units of the cloud's spread. H0: classes of points "
    "that merge. H1: loops, which appear at their birth and are filled at their death: far above the diagonal, long."
)
#: Title, and the figures of metrics.jsonl beside perplexity, without the cloud's name.
CURVES = (
    ("mean H0 death", "h0"),
    ("total H1 life", "h1"),
    ("persistent entropy", "persistent_entropy"),
)

Lines = Sequence[Mapping[str, Any]]


def sections(lines: Lines, metrics: Lines) -> list[Section]:
    """What the record (see ``record``) says, beside the lines of metrics.jsonl: nothing where it is empty."""
    clouds = [name for name in ("codebook", "latents") if any(name in line for line in lines)]
    blocks = [
        block
        for cloud in clouds
        for block in _blocks(cloud, [line for line in lines if cloud in line], metrics)
    ]
    return [Section("Persistent homology", blocks, LEAD)] if blocks else []


def _blocks(cloud: str, lines: Lines, metrics: Lines) -> list[Block]:
    name, last = cloud.capitalize(), lines[-1][cloud]
    curves = [_beside(name, title, metrics, f"{cloud}_{key}") for title, key in CURVES]
    return [
        Frames(f"{name}: persistence diagram after step", _diagrams(cloud, lines)),
        _barcode(f"{name}: H0 bars at the end", [(0.0, death) for death in last["h0"]], H0),
        _barcode(f"{name}: H1 bars at the end", last["h1"], H1),
        *(curve for curve in curves if curve.series),
    ]


def _diagrams(cloud: str, lines: Lines) -> list[tuple[str, Chart]]:
    """Diagrams of moments spread over the run, on the same axes."""
    few = min(MOMENTS, len(lines))
    chosen = [lines[round(place * (len(lines) - 1) / max(few - 1, 1))] for place in range(few)]
    deaths = [
        death
        for line in chosen
        for death in (*line[cloud]["h0"], *(pair[1] for pair in line[cloud]["h1"]))
    ]
    widest = 1.05 * max(deaths, default=0) or 1.0
    return [
        (f"{line['step']:,}", _diagram(line[cloud], (-0.02 * widest, widest))) for line in chosen
    ]


def _diagram(found: Mapping[str, Any], within: Point) -> Chart:
    series = [
        Series(
            "H0",
            [(0.0, death) for death in found["h0"]],
            "dots",
            H0,
            sizes=[2.4] * len(found["h0"]),
        ),
        Series("H1", found["h1"], "dots", H1, sizes=[2.4] * len(found["h1"])),
    ]
    axes = {"x": "birth / spread", "y": "death / spread", "x_range": within, "y_range": within}
    return Chart("Persistence diagram", series, **axes, diagonal=True)


def _barcode(title: str, pairs: Sequence[Point], color: int) -> Chart:
    longest = sorted(sorted(pairs, key=lambda pair: pair[0] - pair[1])[:BARS])
    note = f"The longest {BARS} of {len(pairs)}." if len(pairs) > BARS else f"{len(pairs)} in all."
    return Chart(title, [Series("", longest, "spans", color)], x="length / spread", note=note)


def _beside(cloud: str, title: str, metrics: Lines, name: str) -> Chart:
    """A figure over the steps, with perplexity on an axis of its own, so that one sees which moves with which."""
    points, perplexity = (
        [(line["step"], line[key]) for line in metrics if key in line]
        for key in (name, "perplexity")
    )
    series = [
        Series(title, points),
        Series("perplexity", perplexity, color=-1, dashed=True, right=True),
    ]
    return Chart(
        f"{cloud}: {title}", series if points else [], x="step", right="perplexity", zero=True
    )
