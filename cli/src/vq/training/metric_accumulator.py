"""Running means between two log lines, on the device: the host waits for it on log steps only."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vq.models.autoencoder import ModelOutput
from vq.training.not_finite import NotFinite, require_finite
from vqcore.codebook.usage_meter import UsageMeter, to_floats
from vqcore.distributed import sum_over_ranks


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
        #: The first step at which the gradient, a latent and each term is NaN or inf; inf if none.
        self.first_bad: Tensor | None = None
        self.bad_latents: Tensor | None = None
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
            bad = out.bottleneck.metrics["bad_tokens"]
            self.bad_latents = bad if self.bad_latents is None else self.bad_latents + bad

    def end_step(self, step: int, samples: int, grad_norm: Tensor) -> None:
        """Add a step: its samples over all processes, and the norm of its gradient."""
        norm = grad_norm.detach().to(self.sums["loss"])  # the norm of no gradients is on the CPU
        latents = torch.zeros_like(norm) if self.bad_latents is None else self.bad_latents
        judged = [
            torch.zeros_like(norm) if self.scaled else norm,
            torch.where(latents > 0, math.inf, 0.0).to(norm),
            *self.sums.values(),
        ]
        now = torch.where(torch.stack(judged).isfinite(), math.inf, step)
        if (before := self.first_bad) is not None:
            if new := len(now) - len(before):  # terms that are new stand last
                before = F.pad(before, (0, new), value=math.inf)
            now = torch.minimum(before, now)
        self.first_bad = now
        self.norms = norm if self.norms is None else self.norms + norm
        self.steps += 1
        self.samples += samples

    def close(self, step: int) -> dict[str, Any]:
        """The means over the steps and all processes, as floats; then resets.

        Every process calls it. A term that acts on some steps only is averaged over those. Code
        usage is that of all tokens, not the mean of its batches; where there are several
        codebooks (groups or stages), ``codebooks`` has that of each.

        Raises:
            NotFinite: if a term is NaN or inf, naming the first such step and the terms that were
                so in it; or if every latent is.
        """
        if self.norms is None or self.first_bad is None:
            raise ValueError("close() before the first step")
        means = {**_over_ranks(self.sums, self.seen), "grad_norm": self.norms / self.steps}
        used = self.usage.close() if self.usage.counts is not None else {}
        found = to_floats({**means, **used, "first_bad": self.first_bad})
        names = ("grad_norm", "latents", *self.sums)
        first_bad = dict(zip(names, found.pop("first_bad"), strict=True))
        errors = found.pop("errors", [])
        line: dict[str, Any] = {name: sum(values) / len(values) for name, values in found.items()}
        self._refuse_bad(line, first_bad, step)
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

    def _refuse_bad(
        self, line: Mapping[str, float], first_bad: dict[str, float], step: int
    ) -> None:
        """Refuse a line that is not finite, naming what was the first to be so."""
        latents = first_bad.pop("latents")
        # bad latents are left out of every loss, so that none may show it
        if line.get("codes_used") == 0 and latents < min(first_bad.values()):
            raise NotFinite(int(min(latents, step)), "every latent is NaN, inf or huge")
        first = min(first_bad.values())
        names = [name for name in line if not math.isfinite(line[name])]
        if self.scaled and "grad_norm" in names:
            names.remove("grad_norm")
        began = [name for name in names if first_bad.get(name) == first]
        require_finite(int(min(first, step)), {name: line[name] for name in began or names})


def _over_ranks(sums: Mapping[str, Tensor], seen: Mapping[str, float]) -> dict[str, Tensor]:
    """The weighted mean of each term over all processes."""
    weights = [sums["loss"].new_tensor(weight) for weight in seen.values()]
    packed = torch.stack([*sums.values(), *weights])
    sum_over_ranks(packed)
    total, weight = packed.chunk(2)
    return dict(zip(sums, total / weight, strict=True))
