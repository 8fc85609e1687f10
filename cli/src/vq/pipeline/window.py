"""Running means between two log steps, kept on the device so that the host waits on log steps only."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vq.pipeline.model import ModelOutput
from vqcore.errors import RunError
from vqcore.window import UsageWindow, numbers

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
        self.usage = UsageWindow()
        self.samples = 0
        self.restart()

    def restart(self) -> None:
        """Start the clock of the next window, after evaluation and saving."""
        self.started = time.perf_counter()

    def add(self, out: ModelOutput, samples: int) -> None:
        """Take in one step."""
        for name, value in {"loss": out.loss, **out.losses}.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.seen[name] = self.seen.get(name, 0) + 1
        self.usage.add(out.bottleneck)
        self.samples += samples

    def close(self, step: int) -> dict[str, Any]:
        """The means as floats, and a fresh window. A term that acts on some steps only is averaged over those.

        Code usage is that of all the window's tokens, not the mean of its batches; ``codebooks`` has it for each group
        or stage where there are several.

        Raises:
            RunError: see ``require_finite``.
        """
        means = {name: total / self.seen[name] for name, total in self.sums.items()}
        figures = numbers(means | self.usage.close())
        each = figures.pop("errors")
        line: dict[str, Any] = {name: sum(values) / len(values) for name, values in figures.items()}
        require_finite(step, line)
        if line["codes_used"] == 0:  # bad latents are left out of every loss, so that none need show it
            raise RunError(f"step {step}: every latent is NaN or inf: {REMEDY}")
        if len(each) > 1:
            per_codebook = {name: figures[name] for name in ("perplexity", "codes_used", "dead_codes")}
            per_codebook["quantization_error"] = each
            line["codebooks"] = [
                dict(zip(per_codebook, row, strict=True)) for row in zip(*per_codebook.values(), strict=True)
            ]
        seconds = time.perf_counter() - self.started
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
