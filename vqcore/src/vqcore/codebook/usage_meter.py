"""Codebook usage over many steps: an epoch, or the steps between two log lines."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.codebook.usage import codes_used, perplexity
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output


class UsageMeter:
    """Accumulates the outputs of one layer. ``add`` never waits for the device or other ranks."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._sizes = torch.zeros(0)
        self._replaced_before: Tensor | None = None
        self._replaced_now = torch.zeros(0)

    def add(self, out: Output) -> None:
        """Accumulate one output; all outputs must come from the same layer."""
        tokens = out.counts.sum(1)
        new = {
            "counts": out.counts,
            "errors": out.errors.double() * tokens,
            "quantization_error": out.metrics["quantization_error"].double() * tokens[0],
            "bad_tokens": out.metrics["bad_tokens"],
        }
        for name, value in new.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._sizes = out.sizes
        self._replaced_now = out.metrics["replaced_codes"]
        if self._replaced_before is None:
            self._replaced_before = self._replaced_now

    @property
    def counts(self) -> Tensor | None:
        """How often each code was used on this rank, (C, K); None if nothing was added."""
        return self._sums.get("counts")

    def close(self) -> dict[str, Tensor]:
        """The metrics over all ranks; the meter is empty afterwards. Every rank calls it.

        Returns:
            ``perplexity``, ``codes_used``, ``dead_codes`` (never used since the last close) and
            ``errors`` (quantization error of each codebook), each (C,); ``quantization_error``,
            ``bad_tokens`` and ``replaced_codes``, scalars. All are tensors on the device.

        Raises:
            ValueError: if nothing was added.
        """
        if not self._sums or self._replaced_before is None:
            raise ValueError("the meter is empty: add outputs of the layer before closing it")
        sums, self._sums = self._sums, {}
        sum_over_ranks(*sums.values())
        counts = sums["counts"]
        used = codes_used(counts)
        replaced = self._replaced_now - self._replaced_before  # the same on every rank
        self._replaced_before = self._replaced_now
        return {
            "perplexity": perplexity(counts),
            "codes_used": used,
            "dead_codes": self._sizes - used,
            "errors": sums["errors"] / counts.sum(1).clamp(min=1),
            "quantization_error": sums["quantization_error"] / counts[0].sum().clamp(min=1),
            "bad_tokens": sums["bad_tokens"],
            "replaced_codes": replaced,
        }


def to_floats(metrics: dict[str, Tensor]) -> dict[str, list[float]]:
    """The values of each tensor as plain numbers; the host waits once for all of them."""
    packed = torch.cat([value.double().reshape(-1) for value in metrics.values()]).tolist()
    plain: dict[str, list[float]] = {}
    for name, value in metrics.items():
        plain[name] = packed[: value.numel()]
        packed = packed[value.numel() :]
    return plain
