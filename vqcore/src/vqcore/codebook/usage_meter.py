"""Codebook usage over many steps: an epoch, or the steps between two log lines."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.codebook.usage import codes_used, perplexity
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output
from vqcore.numerics.stable import in_widest, widest


class UsageMeter:
    """Accumulates the outputs of one layer. ``add`` never waits for the device or other ranks.

    It adds in place, so that a CUDA graph can hold all but the first ``add`` after a ``close``.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._sizes = torch.zeros(0)
        self._replaced_before: Tensor | None = None
        self._replaced_now = torch.zeros(0)

    def add(self, out: Output) -> None:
        """Accumulate one output; all outputs must come from the same layer."""
        new = {
            "counts": out.counts,
            "errors": out.error_sums,
            "quantization_error": out.error_sum,
            "tokens": out.tokens,
            "bad_tokens": out.bad_tokens,
        }
        if not self._sums:
            self._sums = {name: _wide_zeros(value) for name, value in new.items()}
            self._sizes = out.sizes
        for name, value in new.items():
            self._sums[name].add_(value)
        self._replaced_now = out.replaced_codes
        if self._replaced_before is None:
            self._replaced_before = self._replaced_now.clone()

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
        self._replaced_before = self._replaced_now.clone()
        return {
            "perplexity": perplexity(counts),
            "codes_used": used,
            "dead_codes": self._sizes - used,
            "errors": sums["errors"] / counts.sum(1).clamp(min=1),
            "quantization_error": sums["quantization_error"] / sums["tokens"].clamp(min=1),
            "bad_tokens": sums["bad_tokens"],
            "replaced_codes": replaced,
        }


def _wide_zeros(like: Tensor) -> Tensor:
    """Zeros for sums of tensors as this one: the ``widest`` type, or int64 for counts."""
    return torch.zeros_like(like, dtype=widest(like.device) if like.is_floating_point() else None)


def to_floats(metrics: dict[str, Tensor]) -> dict[str, list[float]]:
    """The values of each tensor as plain numbers; the host waits once for all of them."""
    packed = torch.cat([in_widest(value).reshape(-1) for value in metrics.values()]).tolist()
    plain: dict[str, list[float]] = {}
    for name, value in metrics.items():
        plain[name] = packed[: value.numel()]
        packed = packed[value.numel() :]
    return plain
