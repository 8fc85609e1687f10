"""The names of metrics that a run logs itself, which ``vq_metrics`` must not return."""

from __future__ import annotations

import re
from collections.abc import Collection

#: On every line of metrics.jsonl or on some.
RESERVED_METRICS = frozenset((
    "step", "epoch", "lr", "loss", "grad_norm", "perplexity", "codes_used", "dead_codes",
    "quantization_error", "bad_tokens", "replaced_codes", "codebooks", "images_per_second",
    "seconds", "time", "skipped_samples",
))  # fmt: skip
#: How the names of held-out metrics begin, and those of the losses of a level.
RESERVED_PREFIXES = ("test_", "levelN_")
_PREFIX = re.compile("|".join(prefix.replace("N", r"\d+") for prefix in RESERVED_PREFIXES))


def is_reserved(name: str, terms: Collection[str] = ()) -> bool:
    """Whether the run logs a metric of this name; ``terms`` are the names of its loss terms.

    Every loss, regularizer and term of the quantizer is a loss term: ``reconstruction``,
    ``commitment``, ``homology``.
    """
    return name in RESERVED_METRICS or name in terms or _PREFIX.match(name) is not None
