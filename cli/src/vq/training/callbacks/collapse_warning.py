"""A warning when a codebook collapses, while something can still be done about it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from vq.config.resolved_config import ResolvedConfig
from vq.training.trainer import Trainer

_log = logging.getLogger(__name__)
#: A perplexity below this share of the codes, or of the tokens if they are fewer, is a collapse,
SHARE = 0.05
#: and so is a perplexity of one code, however few codes there are.
ALONE = 1.05


class CollapseWarning:
    """Warns once when perplexity falls below 5 % of the codes, and again after a recovery."""

    def __init__(self) -> None:
        self._logged = 0
        self._collapsed = False

    def vq_run_start(self, run: Trainer) -> None:
        """Note where the first log line begins."""
        self._logged = run.step

    def vq_log(self, run: Trainer, metrics: Mapping[str, Any]) -> None:
        """Judge a line."""
        samples = (run.step - self._logged) * run.settings.batch_size
        self._logged = run.step
        tokens = samples * min(map(math.prod, run.model.latent_shapes))
        found = collapse(metrics, run.model.codebook_size, tokens)
        if found and not self._collapsed:
            _log.warning(f"{found}. Remedies: {', or '.join(remedies(run.config))}")
        self._collapsed = bool(found)


def collapse(line: Mapping[str, Any], codebook_size: int, tokens: int) -> str | None:
    """What collapses by a line of metrics.jsonl about so many tokens of each codebook, if any does.

    The worst of several codebooks counts.
    """
    found = [codebook["perplexity"] for codebook in line.get("codebooks", ())]
    if not found and "perplexity" in line:
        found = [line["perplexity"]]
    if codebook_size < 2 or tokens < 2 or not found:
        return None
    worst = min(range(len(found)), key=found.__getitem__)
    if found[worst] >= max(SHARE * min(codebook_size, tokens), ALONE):
        return None
    which = f"codebook {worst} of {len(found)}" if len(found) > 1 else "the codebook"
    return (
        f"step {line['step']}: {which} collapses: perplexity {found[worst]:.2f} of "
        f"{codebook_size} codes since the last log line"
    )


def remedies(config: ResolvedConfig) -> Iterator[str]:
    """What may help a run whose codebook collapses, without what it does already."""
    quantizer = config.components["quantizer"]
    while "inner" in quantizer.children:  # of groups and stages
        quantizer = quantizer.children["inner"]
    options: Any = quantizer.options
    option = f"--{quantizer.path}"
    if getattr(options, "init", "kmeans") != "kmeans":
        yield f"start the codes by k-means ({option}.init kmeans)"
    if getattr(options, "dead_code_threshold", 1) == 0 and options.dead_codes == "usage":
        yield f"replace dead codes ({option}.dead_code_threshold 0.2)"
    if quantizer.spec.name == "codebook":
        yield f"learn the codes by moving averages ({option} ema)"
    if not any(each.spec.name == "entropy" for each in config.regularizers.values()):
        yield "reward even usage (--regularizer entropy)"
    rate = getattr(config.components["optimizer"].options, "lr", None)
    yield "lower --lr" if rate is None else f"lower --lr ({rate:g} here)"
