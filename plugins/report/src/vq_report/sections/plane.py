"""Codes among the latents of held-out samples, on the Poincare disk where the manifold has one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vq_report.encoded_split import CodebookStats, space_of
from vq_report.plots.codebook import project
from vq_report.reported_run import ReportedRun, each_run
from vq_report.sections.usage import codes_of
from vqcore.interfaces.manifold import Manifold
from vqcore.plugin.report_section import Block, Chart, Point, Section, Series

LEAD = (
    "Codes, larger the more they are used, among latents of held-out samples. More than two dimensions are projected "
    "on the two principal axes; the distance from the centre stays true, so that only the angle is a projection."
)


def plane(runs: Sequence[ReportedRun]) -> Section:
    """A map of each codebook."""
    return Section("Codes and latents", each_run(runs, _maps), LEAD)


def _maps(run: ReportedRun) -> list[Block]:
    look = codes_of(run)
    of = len(look.books)
    return [
        _map(prefix, book, space_of(run.trained, book.place, of))
        for prefix, book in look.first(run.books)
    ]


def _map(prefix: str, book: CodebookStats, manifold: Manifold) -> Chart:
    known = book.codes.isfinite().all(1)
    numbers, counts = known.nonzero().flatten(), book.counts[known].double()
    tangents = torch.cat([book.codes[known], book.latents]).double()
    flat = project(tangents)
    on_disk = manifold.disk(flat)
    points = [(x, y) for x, y in (flat if on_disk is None else on_disk).tolist()]
    codes, latents = points[: len(numbers)], points[len(numbers) :]
    kind, width = type(manifold).__name__.lower(), tangents.shape[1]
    where = f"{kind} disk" if on_disk is not None else kind
    title = f"{prefix}{where}, {width} dimension{'s' * (width > 1)}"
    series = [
        Series("latents", latents, "dust", 1),
        *_dots(codes, counts.tolist(), numbers.tolist()),
    ]
    return Chart(title[:1].upper() + title[1:], series, square=True, disk=on_disk is not None)


def _dots(codes: Sequence[Point], counts: Sequence[float], numbers: Sequence[int]) -> list[Series]:
    total, most = max(sum(counts), 1), max([*counts, 1])
    largest = 4.5 * min((64 / max(len(counts), 1)) ** 0.25, 1)
    found = []
    for used, name, color in ((True, "codes", 0), (False, "unused codes", -1)):
        chosen = [place for place, count in enumerate(counts) if (count > 0) == used]
        if chosen:
            sizes = [2.2 + largest * (counts[place] / most) ** 0.5 for place in chosen]
            notes = [
                f"code {numbers[place]}: {100 * counts[place] / total:.2g} %" for place in chosen
            ]
            dots = [codes[place] for place in chosen]
            found.append(
                Series(name, dots, "dots", color, hollow=not used, sizes=sizes, notes=notes)
            )
    return found
