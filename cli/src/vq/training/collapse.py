"""Noticing that a codebook collapses, while something can still be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Share of the codes that perplexity falls below in a collapse.
SHARE = 0.05
#: A codebook that is used like one of a single code has collapsed, however few it has.
ALONE = 1.05

REMEDIES = (
    "start the codes from data (--quantizer.init kmeans), replace dead codes sooner (--quantizer.dead_code_threshold), "
    "move codes by averages (--quantizer ema), spread their use (--regularizer entropy), or lower --lr"
)


def collapse_warning(line: Mapping[str, Any], codebook_size: int) -> str | None:
    """What to tell about a line of metrics.jsonl whose perplexity is below 5 % of the codes, else None.

    Args:
        line: the figures of a window; where there are several codebooks, the worst counts.
        codebook_size: K.
    """
    each = [book["perplexity"] for book in line.get("codebooks", ())] or [line.get("perplexity")]
    if codebook_size < 2 or None in each:
        return None
    worst = min(range(len(each)), key=each.__getitem__)
    if each[worst] >= max(SHARE * codebook_size, ALONE):
        return None
    which = f"codebook {worst} of {len(each)}" if len(each) > 1 else "the codebook"
    return (
        f"step {line['step']}: {which} collapses: perplexity {each[worst]:.2f} of {codebook_size} codes since the line "
        f"before. What helps: {REMEDIES}"
    )
