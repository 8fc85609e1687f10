"""A warning when a codebook collapses, while something can still be done about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from vq.training.trainer import Trainer

_log = logging.getLogger(__name__)
#: A perplexity below this share of the codes is a collapse,
SHARE = 0.05
#: and so is a perplexity of one code, however few codes there are.
ALONE = 1.05

REMEDIES = (
    "initialise the codes from data (--quantizer.init kmeans), replace dead codes sooner "
    "(--quantizer.dead_code_threshold), use moving averages (--quantizer ema), reward even usage "
    "(--regularizer entropy), or lower --lr"
)


class CollapseWarning:
    """Warns once when perplexity falls below 5 % of the codes, and again after a recovery."""

    def __init__(self) -> None:
        self._logged = 0
        self._collapsed = False

    def vq_run_start(self, run: Trainer) -> None:
        """Note where the first log line begins."""
        self._logged = run.step

    def vq_log(self, run: Trainer, metrics: Mapping[str, Any]) -> None:
        """Judge a line, unless it is of the warm-up, or of too few steps."""
        settings = run.settings
        steps = run.step - self._logged
        self._logged = run.step
        enough = min(settings.log_every, settings.eval_every, settings.checkpoint_every)
        if steps < enough or run.step <= settings.warmup_steps:
            return
        text = collapse_warning(metrics, run.model.codebook_size)
        if text and not self._collapsed:
            _log.warning(text)
        self._collapsed = bool(text)


def collapse_warning(line: Mapping[str, Any], codebook_size: int) -> str | None:
    """The warning about a line of metrics.jsonl, None where nothing collapses.

    The worst of several codebooks counts.
    """
    found = [codebook["perplexity"] for codebook in line.get("codebooks", ())]
    if not found and "perplexity" in line:
        found = [line["perplexity"]]
    if codebook_size < 2 or not found:
        return None
    worst = min(range(len(found)), key=found.__getitem__)
    if found[worst] >= max(SHARE * codebook_size, ALONE):
        return None
    which = f"codebook {worst} of {len(found)}" if len(found) > 1 else "the codebook"
    return (
        f"step {line['step']}: {which} collapses: perplexity {found[worst]:.2f} of "
        f"{codebook_size} codes since the last log line. Remedies: {REMEDIES}"
    )
