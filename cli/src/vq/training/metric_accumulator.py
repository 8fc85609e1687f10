"""Running means between two log lines, on the device: the host waits for it on log steps only."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vq.training.not_finite import NotFinite, require_finite
from vq.training.series import Series
from vq.training.training_pass import TrainingOutput
from vqcore.codebook.usage_meter import UsageMeter, to_floats
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output

#: Steps whose terms are kept one by one.
KEPT = 512


@dataclass(frozen=True)
class ForwardValues:
    """What is kept of a forward pass: small tensors on the device.

    Attributes:
        names: of the loss terms, the sum first.
        terms: their values, (T,).
        usage: the bottleneck's output without its large tensors.
    """

    names: tuple[str, ...]
    terms: Tensor
    usage: Output

    @classmethod
    def of(cls, out: TrainingOutput, further: Mapping[str, Tensor]) -> ForwardValues:
        """The values of one forward pass with further terms, detached."""
        terms = {"loss": out.loss, **out.losses, **further}
        nothing = out.loss.new_zeros(0)
        usage = replace(
            out.bottleneck,
            quantized=nothing, indices=nothing, loss=nothing, losses={}, reconstruction=None,
        )  # fmt: skip
        return cls(tuple(terms), torch.stack(list(terms.values())).detach(), usage)

    def copy(self) -> ForwardValues:
        """A copy that a later step does not change; counts are read at once."""
        usage = replace(self.usage, replaced_codes=self.usage.replaced_codes.clone())
        return replace(self, terms=self.terms.clone(), usage=usage)


@dataclass(frozen=True)
class StepValues:
    """What is kept of a step: the values of its forward passes, and the norm of its gradient."""

    forwards: tuple[ForwardValues, ...]
    grad_norm: Tensor

    def copy(self) -> StepValues:
        """See ``ForwardValues.copy``."""
        return StepValues(tuple(one.copy() for one in self.forwards), self.grad_norm.clone())


class MetricAccumulator:
    """Sums of the losses and of the code usage of the steps since the last log line.

    Args:
        device: of the losses.
        scaled: gradients are scaled for fp16: a step whose gradient overflows is skipped, which
            is no failure.

    Attributes:
        steps: since the last log line.
        losses: the terms of each step before the last log line, at most ``KEPT`` of them; ``loss``
            is their sum.
        total_samples, total_seconds: of all log lines, without evaluation and saving.
    """

    def __init__(self, device: torch.device, *, scaled: bool = False) -> None:
        self.device, self.scaled = device, scaled
        self.total_samples = 0
        self.total_seconds = 0.0
        self.losses: list[dict[str, float]] = []
        self._reset()

    def _reset(self) -> None:
        #: By the names of the terms: some regularizers act on some steps only.
        self.series: dict[tuple[str, ...], Series] = {}
        self.usage = UsageMeter()
        #: With the share of the step's samples that this process had.
        self._losses: deque[tuple[dict[str, Tensor], float]] = deque(maxlen=KEPT)
        self.steps = self.samples = 0
        self._read: dict[str, list[float]] = {}
        self.restart()

    def restart(self) -> None:
        """Start the clock, after evaluation and saving."""
        self.started = time.perf_counter()

    def add(
        self, values: StepValues, shares: Sequence[float], step: int, samples: int
    ) -> dict[str, Tensor]:
        """Add a step.

        Args:
            values: of the step.
            shares: of the step's samples that each forward pass had on this process.
            step: its number, the first is 1.
            samples: over all processes.

        Returns:
            This process's loss terms.
        """
        losses: dict[str, Tensor] = {}
        for forward, share in zip(values.forwards, shares, strict=True):
            self._add(forward.names, forward.terms, step, share)
            if len(forward.usage.counts):
                self.usage.add(forward.usage)
            for name, value in zip(forward.names, forward.terms.unbind(), strict=True):
                value = value if share == 1 else value * share
                losses[name] = losses[name] + value if name in losses else value
        self._add(("grad_norm",), values.grad_norm.view(1), step)
        self.steps += 1
        self.samples += samples
        self._losses.append((losses, sum(shares)))
        return {name: value for name, value in losses.items() if name != "loss"}

    def stop(self) -> None:
        """Read what was gathered, in one copy from the device, and stop the clock.

        Every process calls it on a log step, before the hooks of that step.
        """
        totals, first_bad = self._totals()
        sum_over_ranks(totals)
        sums, seen = totals.unbind(1)
        used = self.usage.close() if self.usage.counts is not None else {}
        losses = torch.stack([each for terms, _ in self._losses for each in terms.values()])
        self._read = to_floats(
            {"means": sums / seen, "first_bad": first_bad, "losses": losses, **used}
        )
        self.seconds = time.perf_counter() - self.started

    def close(self, step: int) -> dict[str, Any]:
        """The means over the steps and all processes, as floats; then resets.

        Every process calls it. A term that acts on some steps only is averaged over those. Code
        usage is that of all tokens, not the mean of its batches; where there are several
        codebooks (groups or stages), ``codebooks`` has that of each.

        Raises:
            NotFinite: if a term is NaN or inf, naming the first such step and the terms that were
                so in it; or if every latent is.
        """
        if not self._read:
            self.stop()
        found = self._read
        line: dict[str, Any] = dict(zip(self._names, found.pop("means"), strict=True))
        line["grad_norm"] = line.pop("grad_norm")  # behind terms that began after the first step
        first_bad = dict(zip(self._names, found.pop("first_bad"), strict=True))
        values = iter(found.pop("losses"))
        self.losses = [
            {name: next(values) / (share or 1) for name in terms} for terms, share in self._losses
        ]
        errors = found.pop("errors", [])
        line |= {name: sum(values) / len(values) for name, values in found.items()}
        self._refuse_bad(line, first_bad, step)
        if len(errors) > 1:
            columns = {name: found[name] for name in ("perplexity", "codes_used", "dead_codes")}
            columns["quantization_error"] = errors
            rows = zip(*columns.values(), strict=True)
            line["codebooks"] = [dict(zip(columns, row, strict=True)) for row in rows]
        line["images_per_second"] = self.samples / self.seconds
        self.total_samples += self.samples
        self.total_seconds += self.seconds
        self._reset()
        return line

    def _add(self, names: tuple[str, ...], row: Tensor, step: int, share: float = 1.0) -> None:
        if names not in self.series:
            self.series[names] = Series(len(names), self.device)
        self.series[names].add(row, step, share)

    @property
    def _names(self) -> list[str]:
        """Every term once."""
        return list(dict.fromkeys(name for names in self.series for name in names))

    def _totals(self) -> tuple[Tensor, Tensor]:
        """Weighted sum and sum of weights of every term, (T, 2), and its first bad step, (T,).

        Raises:
            ValueError: before the first step.
        """
        if self.steps == 0:
            raise ValueError("no step to read")
        found: dict[str, list[Tensor]] = {name: [] for name in self._names}
        for names, series in self.series.items():
            for name, row in zip(names, series.totals(), strict=True):
                found[name].append(row)
        totals = [torch.stack(rows) for rows in found.values()]
        return (
            torch.stack([rows[:, :2].sum(0) for rows in totals]),
            torch.stack([rows[:, 2].amin() for rows in totals]),
        )

    def _refuse_bad(
        self, line: Mapping[str, float], first_bad: dict[str, float], step: int
    ) -> None:
        """Refuse a line that is not finite, naming what was the first to be so."""
        if self.scaled:
            first_bad["grad_norm"] = math.inf
        first, began = min(first_bad.values()), step - self.steps + 1
        # bad latents are left out of every loss, so that none may show it
        if line.get("codes_used") == 0 < line["bad_tokens"] and began < first:
            raise NotFinite(began, "every latent is NaN, inf or huge")
        names = [name for name in line if not math.isfinite(line[name])]
        if self.scaled and "grad_norm" in names:
            names.remove("grad_norm")
        early = [name for name in names if first_bad.get(name) == first]
        require_finite(int(min(first, step)), {name: line[name] for name in early or names})
