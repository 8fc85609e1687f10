"""Running means between two log steps, kept on the device so that the host waits on log steps only."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vq.pipeline.model import ModelOutput
from vqcore.errors import RunError
from vqcore.metrics import codes_used, perplexity

REMEDY = "the run cannot go on; lower --lr or grad_clip"


class Window:
    """Sums of the losses, metrics and code usage of the steps since the last log line.

    Attributes:
        total_samples, total_seconds: of all windows closed, without what happens between them (evaluation, saving).
    """

    def __init__(self) -> None:
        self.total_samples, self.total_seconds = 0, 0.0
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.seen: dict[str, int] = {}
        self.counts: Tensor | None = None
        self.samples = 0
        self.restart()

    def restart(self) -> None:
        """Start the clock of the next window, after evaluation and saving."""
        self.started = time.perf_counter()

    def add(self, out: ModelOutput, samples: int) -> None:
        """Take in one step."""
        usage = ("perplexity", "codes_used")  # of the window's counts, not the mean of the batches'
        values = {"loss": out.loss, **out.losses, **{k: v for k, v in out.metrics.items() if k not in usage}}
        for name, value in values.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.seen[name] = self.seen.get(name, 0) + 1
        self.counts = out.counts if self.counts is None else self.counts + out.counts
        self.samples += samples

    def close(self, step: int) -> dict[str, Any]:
        """The means as floats, and a fresh window. A term that acts on some steps only is averaged over those.

        Raises:
            RunError: see ``require_finite``.
        """
        names = list(self.sums)
        table = torch.stack([self.sums[name] / self.seen[name] for name in names])
        usage = torch.stack([perplexity(self.counts).mean(), codes_used(self.counts).double().mean()])
        *means, spread, used, tokens = torch.cat([table, usage, self.counts.sum().double().view(1)]).tolist()
        line = dict(zip(names, means, strict=True)) | {"perplexity": spread, "codes_used": used}
        require_finite(step, line)
        if tokens == 0:  # bad latents are left out of every loss, so that none need show it
            raise RunError(f"step {step}: every latent is NaN or inf: {REMEDY}")
        seconds = time.perf_counter() - self.started
        line["bad_tokens"] = line["bad_tokens"] * self.seen["bad_tokens"]
        line["images_per_second"] = self.samples / seconds
        self.total_samples += self.samples
        self.total_seconds += seconds
        self._reset()
        return line


def require_finite(step: int, figures: Mapping[str, float]) -> None:
    """Refuse to go on from a loss or figure that is no number.

    Raises:
        RunError: if one is NaN or inf, naming the step and every such term.
    """
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        raise RunError(f"step {step}: {', '.join(bad)}: {REMEDY}")
