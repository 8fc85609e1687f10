"""Running means between two log lines, on the device: the host waits for it on log steps only."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vq.models.autoencoder import ModelOutput
from vqcore.codebook.usage_meter import UsageMeter, to_floats
from vqcore.distributed import sum_over_ranks
from vqcore.errors import RunError

REMEDY = "the run cannot continue; lower --lr or grad_clip"


class MetricAccumulator:
    """Sums of the losses and of the code usage of the steps since the last log line.

    Args:
        scaled: gradients are scaled for fp16: a step whose gradient overflows is skipped, which
            is no failure.

    Attributes:
        steps: since the last log line.
        total_samples, total_seconds: of all log lines, without evaluation and saving.
    """

    def __init__(self, *, scaled: bool = False) -> None:
        self.scaled = scaled
        self.total_samples = 0
        self.total_seconds = 0.0
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.seen: dict[str, float] = {}
        self.norms: Tensor | None = None
        self.first_bad: Tensor | None = None
        self.usage = UsageMeter()
        self.steps = self.samples = 0
        self.seconds: float | None = None
        self.restart()

    def restart(self) -> None:
        """Start the clock, after evaluation and saving."""
        self.started = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock when the device has done its steps, before the hooks of a log step."""
        self.sums["loss"].item()
        self.seconds = time.perf_counter() - self.started

    def add(self, out: ModelOutput, share: float = 1.0) -> None:
        """Add one forward pass, of this share of its step's batch."""
        for name, value in {"loss": out.loss, **out.losses}.items():
            value = value.detach().double() * share
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.seen[name] = self.seen.get(name, 0.0) + share
        if len(out.bottleneck.counts):
            self.usage.add(out.bottleneck)

    def end_step(self, step: int, samples: int, grad_norm: Tensor) -> None:
        """Add a step: its samples over all processes, and the norm of its gradient."""
        norm = grad_norm.detach().to(self.sums["loss"])  # the norm of no gradients is on the CPU
        bad = ~(norm.isfinite() | self.scaled) | ~self.sums["loss"].isfinite()
        now = torch.where(bad, step, math.inf)
        self.first_bad = now if self.first_bad is None else torch.minimum(self.first_bad, now)
        self.norms = norm if self.norms is None else self.norms + norm
        self.steps += 1
        self.samples += samples

    def close(self, step: int) -> dict[str, Any]:
        """The means over the steps and all processes, as floats; then resets.

        Every process calls it. A term that acts on some steps only is averaged over those. Code
        usage is that of all tokens, not the mean of its batches; where there are several
        codebooks (groups or stages), ``codebooks`` has that of each.

        Raises:
            RunError: if a term is NaN or inf, naming the first such step; or if every latent is.
        """
        if self.norms is None or self.first_bad is None:
            raise ValueError("close() before the first step")
        means = {**_over_ranks(self.sums, self.seen), "grad_norm": self.norms / self.steps}
        used = self.usage.close() if self.usage.counts is not None else {}
        found = to_floats({**means, **used, "first_bad": self.first_bad})
        (first_bad,) = found.pop("first_bad")
        errors = found.pop("errors", [])
        line: dict[str, Any] = {name: sum(values) / len(values) for name, values in found.items()}
        self._refuse_bad(line, int(min(first_bad, step)))
        if len(errors) > 1:
            columns = {name: found[name] for name in ("perplexity", "codes_used", "dead_codes")}
            columns["quantization_error"] = errors
            rows = zip(*columns.values(), strict=True)
            line["codebooks"] = [dict(zip(columns, row, strict=True)) for row in rows]
        seconds = self.seconds or time.perf_counter() - self.started
        line["images_per_second"] = self.samples / seconds
        self.total_samples += self.samples
        self.total_seconds += seconds
        self._reset()
        return line

    def _refuse_bad(self, line: Mapping[str, float], step: int) -> None:
        skipped = {"grad_norm"} if self.scaled else set()
        require_finite(step, {name: line[name] for name in line if name not in skipped})
        # bad latents are left out of every loss, so that none may show it
        if line.get("codes_used") == 0:
            raise RunError(f"step {step}: every latent is NaN or inf: {REMEDY}")


def _over_ranks(sums: Mapping[str, Tensor], seen: Mapping[str, float]) -> dict[str, Tensor]:
    """The weighted mean of each term over all processes."""
    weights = [sums["loss"].new_tensor(weight) for weight in seen.values()]
    packed = torch.stack([*sums.values(), *weights])
    sum_over_ranks(packed)
    total, weight = packed.chunk(2)
    return dict(zip(sums, total / weight, strict=True))


def require_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Refuse to continue from a loss or metric that is NaN or inf.

    Raises:
        RunError: naming the step and every such term.
    """
    bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise RunError(f"step {step}: {', '.join(bad)}: {REMEDY}")
