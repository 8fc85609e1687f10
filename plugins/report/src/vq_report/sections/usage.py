"""How often each code is chosen, by held-out tokens: a histogram, and the codes that nothing chooses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vq_report.encoded_split import EncodedSplit
from vq_report.reported_run import Absent, ReportedRun, each_run
from vqcore.codebook.usage import codes_used, perplexity
from vqcore.plugin.report_section import Block, Chart, Section, Series, Text

#: Bars of a histogram, and dead codes that are named, at most.
BARS, NAMED = 256, 100
#: How much more the most used code must be used than the median one for the histogram to be logarithmic.
STEEP = 50


def usage(runs: Sequence[ReportedRun]) -> Section:
    """A histogram of each codebook, its dead codes, and both over training."""
    return Section("Usage of the codes", each_run(runs, _of_one))


def codes_of(run: ReportedRun) -> EncodedSplit:
    """The run's look at held-out samples.

    Raises:
        Absent: if there is none, or the model has no codes.
    """
    look = run.encoded
    if not look.books:
        raise Absent("This model has no codes: its bottleneck is a baseline without them.")
    return look


def _of_one(run: ReportedRun) -> list[Block]:
    look = codes_of(run)
    shown = look.first(run.books)
    blocks: list[Block] = [_histogram(prefix, book.counts) for prefix, book in shown]
    blocks += _over_training(run)
    blocks += [Text(_dead(prefix, book.counts, look.samples)) for prefix, book in shown]
    if len(look.books) > len(shown):
        blocks.append(
            Text(
                f"The first {len(shown)} of {len(look.books)} codebooks are shown, here and below."
            )
        )
    return blocks


def _histogram(prefix: str, counts: Tensor) -> Chart:
    size, total = len(counts), max(int(counts.sum()), 1)
    order = counts.argsort(descending=True, stable=True)
    pace = -(-size // BARS)
    ranks = list(range(0, size, pace))
    shares = [100 * float(counts[order[rank]]) / total for rank in ranks]
    used = int(codes_used(counts))
    log = shares[0] > STEEP * max(100 * float(counts.median()) / total, 1e-9)
    every = "" if pace == 1 else f" Every {pace}th code is drawn."
    note = f"{used:,} of {size:,} codes used, perplexity {float(perplexity(counts)):.1f}.{every}"
    bars = Series(
        "codes",
        list(zip(ranks, shares, strict=True)),
        kind="bars",
        notes=[
            f"code {int(order[rank])}: {share:.3g} %"
            for rank, share in zip(ranks, shares, strict=True)
        ],
    )
    equal = Series(
        "equal usage", [(-0.5, 100 / size), (size - 0.5, 100 / size)], color=-1, dashed=True
    )
    title = _capital(f"{prefix}share of tokens by code")
    axes = {"x": "codes, most used first", "y": "%", "log": log, "x_range": (-0.5, size - 0.5)}
    return Chart(title, [bars, equal], **axes, note=note)


def _over_training(run: ReportedRun) -> list[Block]:
    """Codes that the held-out split did not use, at each evaluation that recorded it."""
    recorded = [snapshot for snapshot in run.history if snapshot.counts]
    if len(recorded) < 2:
        return []
    books = min(len(snapshot.counts) for snapshot in recorded)
    series = [
        Series(
            f"codebook {place + 1}" if books > 1 else "unused",
            [(snapshot.step, float((snapshot.counts[place] == 0).sum())) for snapshot in recorded],
        )
        for place in range(min(books, 8))
    ]
    return [Chart("Codes without a held-out token", series, x="step", y="codes", zero=True)]


def _dead(prefix: str, counts: Tensor, samples: int) -> str:
    unused = (counts == 0).nonzero().flatten().tolist()
    where = f"by {samples:,} held-out samples"
    if not unused:
        return _capital(f"{prefix}every code is used {where}.")
    named = ", ".join(map(str, unused[:NAMED])) + (
        f" and {len(unused) - NAMED:,} more" if len(unused) > NAMED else ""
    )
    return _capital(
        f"{prefix}dead codes, not used {where}: {len(unused):,} of {len(counts):,} (number {named})."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
