"""Running means between two log steps, kept on the device so that the host waits on log steps only."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vq.models.autoencoder import ModelOutput
from vqcore.codebook.usage_meter import UsageMeter, numbers
from vqcore.distributed import sum_over_ranks
from vqcore.errors import RunError

REMEDY = "the run cannot go on; lower --lr or grad_clip"


class MetricAccumulator:
    """Sums of the losses, metrics and code usage of the steps since the last log line.

    Args:
        scaled: gradients are scaled for half precision: one that overflows is skipped, and is no failure.

    Attributes:
        total_samples, total_seconds: of all windows closed, without what happens between them (evaluation, saving).
    """

    def __init__(self, *, scaled: bool = False) -> None:
        self.total_samples, self.total_seconds, self.scaled = 0, 0.0, scaled
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.seen: dict[str, float] = {}
        self.norms: Tensor | None = None
        self.first_bad: Tensor | None = None
        self.usage = UsageMeter()
        self.steps = self.samples = 0
        self.restart()

    def restart(self) -> None:
        """Start the clock of the next window, after evaluation and saving."""
        self.started = time.perf_counter()

    def add(self, out: ModelOutput, share: float = 1.0) -> None:
        """Take in one forward pass, of this share of its step's batch."""
        for name, value in {"loss": out.loss, **out.losses}.items():
            value = value.detach().double() * share
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.seen[name] = self.seen.get(name, 0.0) + share
        if len(out.bottleneck.counts):
            self.usage.add(out.bottleneck)

    def end_step(self, step: int, samples: int, grad_norm: Tensor) -> None:
        """Note that a step is complete: how many samples it took over all processes, and the gradient's norm."""
        norm = grad_norm.detach().to(
            self.sums["loss"]
        )  # where nothing has a gradient, it comes from the CPU
        bad = ~(norm.isfinite() | self.scaled) | ~self.sums["loss"].isfinite()
        now = torch.where(bad, step, math.inf)
        self.first_bad = now if self.first_bad is None else torch.minimum(self.first_bad, now)
        self.norms = norm if self.norms is None else self.norms + norm
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def close(self, step: int) -> dict[str, Any]:
        """The means over the steps and all processes as floats, and a fresh window. Every process calls it.

        A term that acts on some steps only is averaged over those. Code usage is that of all the window's tokens, not
        the mean of its batches; ``codebooks`` has it for each group or stage where there are several.

        Raises:
            RunError: if a term is NaN or inf, naming the first such step; or if every latent is.
        """
        means = {**_over_ranks(self.sums, self.seen), "grad_norm": self.norms / self.steps}
        used = self.usage.close() if self.usage.counts is not None else {}
        figures = numbers({**means, **used, "first_bad": self.first_bad})
        ((first_bad,), each) = figures.pop("first_bad"), figures.pop("errors", [])
        line: dict[str, Any] = {name: sum(values) / len(values) for name, values in figures.items()}
        self._refuse_bad(line, int(min(first_bad, step)))
        if len(each) > 1:
            per_codebook = {
                name: figures[name] for name in ("perplexity", "codes_used", "dead_codes")
            }
            per_codebook["quantization_error"] = each
            line["codebooks"] = [
                dict(zip(per_codebook, row, strict=True))
                for row in zip(*per_codebook.values(), strict=True)
            ]
        seconds = time.perf_counter() - self.started
        line["images_per_second"] = self.samples / seconds
        self.total_samples += self.samples
        self.total_seconds += seconds
        self._reset()
        return line

    def _refuse_bad(self, line: Mapping[str, float], step: int) -> None:
        require_finite(
            step, {name: line[name] for name in line if not (self.scaled and name == "grad_norm")}
        )
        if (
            line.get("codes_used") == 0
        ):  # bad latents are left out of every loss, so that none need show it
            raise RunError(f"step {step}: every latent is NaN or inf: {REMEDY}")


def _over_ranks(sums: Mapping[str, Tensor], seen: Mapping[str, float]) -> dict[str, Tensor]:
    """The weighted mean of each term over all processes."""
    packed = torch.stack(
        [*sums.values(), *(next(iter(sums.values())).new_tensor(n) for n in seen.values())]
    )
    sum_over_ranks(packed)
    total, weight = packed.chunk(2)
    return dict(zip(sums, total / weight, strict=True))


def require_finite(step: int, figures: Mapping[str, float]) -> None:
    """Refuse to go on from a loss or figure that is no number.

    Raises:
        RunError: if one is NaN or inf, naming the step and every such term.
    """
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if bad:
        raise RunError(f"step {step}: {', '.join(bad)}: {REMEDY}")
