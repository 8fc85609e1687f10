"""Codebook usage on held-out tokens: a histogram, and the dead codes."""

from __future__ import annotations

from torch import Tensor

from vq_report.encoded_split import EncodedSplit
from vq_report.reported_run import ReportedRun, Unavailable
from vqcore.codebook.usage import codes_used, perplexity
from vqcore.plugin.report_section import Block, Chart, Series, Text

#: Bars of a histogram, and dead codes that are listed, at most.
MAX_BARS, MAX_LISTED = 256, 100
#: Codebooks whose dead codes are drawn over training, at most.
MAX_CURVES = 8
#: The axis is logarithmic if the most used code is used this many times as often as the median.
STEEP = 50


def encoded_codes(run: ReportedRun) -> EncodedSplit:
    """The run's encoded held-out samples.

    Raises:
        Unavailable: if there are none, or the model has no codes.
    """
    if not run.encoded.codebooks:
        raise Unavailable("This model has no codes: its bottleneck is continuous.")
    return run.encoded


def blocks(run: ReportedRun) -> list[Block]:
    """A histogram of each codebook, its dead codes, and their number over training."""
    encoded = encoded_codes(run)
    shown = encoded.first(run.max_codebooks)
    found: list[Block] = [usage_histogram(prefix, stats.counts) for prefix, stats in shown]
    found += _over_training(run)
    found += [Text(_dead_codes(prefix, s.counts, encoded.samples)) for prefix, s in shown]
    total = len(encoded.codebooks)
    if total > len(shown):
        found.append(Text(f"Here and below, the first {len(shown)} of {total} codebooks appear."))
    return found


def usage_histogram(prefix: str, counts: Tensor) -> Chart:
    """The share of tokens of each code, from how often each was chosen, (K,)."""
    size, total = len(counts), max(int(counts.sum()), 1)
    order = counts.argsort(descending=True, stable=True)
    step = -(-size // MAX_BARS)
    ranks = range(0, size, step)
    shares = [100 * float(counts[order[rank]]) / total for rank in ranks]
    notes = [f"code {int(order[r])}: {s:.3g} %" for r, s in zip(ranks, shares, strict=True)]
    bars = Series("codes", list(zip(ranks, shares, strict=True)), "bars", notes=notes)
    ends = (-0.5, size - 0.5)
    uniform = Series("uniform usage", [(x, 100 / size) for x in ends], color=-1, dashed=True)
    used = f"{int(codes_used(counts)):,} of {size:,} codes used"
    every = "" if step == 1 else f" Every {step}th code is drawn."
    return Chart(
        capitalize(f"{prefix}share of tokens by code"),
        [bars, uniform],
        x="codes, most used first",
        y="%",
        log=shares[0] > STEEP * max(100 * float(counts.median()) / total, 1e-9),
        x_range=ends,
        note=f"{used}, perplexity {float(perplexity(counts)):.1f}.{every}",
    )


def _over_training(run: ReportedRun) -> list[Block]:
    """The number of codes that the held-out split does not use, at each evaluation."""
    recorded = [snapshot for snapshot in run.history if snapshot.counts]
    if len(recorded) < 2:
        return []
    codebooks = min(len(snapshot.counts) for snapshot in recorded)
    series = [
        Series(
            f"codebook {number + 1}" if codebooks > 1 else "unused",
            [(snapshot.step, float((snapshot.counts[number] == 0).sum())) for snapshot in recorded],
        )
        for number in range(min(codebooks, MAX_CURVES))
    ]
    return [Chart("Codes without a held-out token", series, x="step", y="codes", zero=True)]


def _dead_codes(prefix: str, counts: Tensor, samples: int) -> str:
    unused = (counts == 0).nonzero().flatten().tolist()
    if not unused:
        return capitalize(f"{prefix}{samples:,} held-out samples use every code.")
    numbers = ", ".join(map(str, unused[:MAX_LISTED]))
    if len(unused) > MAX_LISTED:
        numbers += f" and {len(unused) - MAX_LISTED:,} more"
    share = f"{len(unused):,} of {len(counts):,}"
    return capitalize(
        f"{prefix}dead codes, unused by {samples:,} held-out samples: {share} (codes {numbers})."
    )


def capitalize(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
