"""How codebooks are used over many steps: an epoch, or the steps between two lines of a log."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.codebook.usage import codes_used, perplexity
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output


class UsageMeter:
    """Sums up outputs of a layer. Adding one never makes the host wait, and never talks to other ranks.

    Attributes:
        tokens: (C,), tokens that each codebook quantized on this rank.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._sizes: Tensor | None = None
        self._replaced: tuple[Tensor, Tensor] | None = None

    def add(self, out: Output) -> None:
        """Take in one output; all of a window come from one layer."""
        tokens = out.counts.sum(1)
        new = {
            "counts": out.counts,
            "errors": out.errors.double() * tokens,
            "quantization_error": out.metrics["quantization_error"].double() * tokens[0],
            "bad_tokens": out.metrics["bad_tokens"],
        }
        before, now = (
            self._replaced[0] if self._replaced else out.metrics["replaced_codes"],
            out.metrics["replaced_codes"],
        )
        self._replaced, self._sizes = (before, now), out.sizes
        self._sums = {
            name: self._sums[name] + value if self._sums else value.clone()
            for name, value in new.items()
        }

    @property
    def counts(self) -> Tensor | None:
        """How often each code was used on this rank, (C, K); None while the window is empty."""
        return self._sums.get("counts")

    def close(self) -> dict[str, Tensor]:
        """The figures of the window over all ranks; the window is empty then. Every rank calls it.

        Returns:
            ``perplexity``, ``codes_used``, ``dead_codes`` (never used in the window) and ``errors`` (quantization error
            of each codebook alone), each (C,); ``quantization_error`` of the whole, ``bad_tokens`` and
            ``replaced_codes``, scalars. Tensors on the device: reading one waits for it.

        Raises:
            ValueError: if nothing was added.
        """
        if not self._sums:
            raise ValueError("the window is empty: add outputs of the layer before closing it")
        sums, self._sums = self._sums, {}
        before, now = self._replaced  # every rank replaces the same ones
        self._replaced = (now, now)
        sum_over_ranks(*sums.values())
        counts = sums["counts"]
        used = codes_used(counts)
        return {
            "perplexity": perplexity(counts),
            "codes_used": used,
            "dead_codes": self._sizes - used,
            "errors": sums["errors"] / counts.sum(1).clamp(min=1),
            "quantization_error": sums["quantization_error"] / counts[0].sum().clamp(min=1),
            "bad_tokens": sums["bad_tokens"],
            "replaced_codes": now - before,
        }


def numbers(figures: dict[str, Tensor]) -> dict[str, list[float]]:
    """The values of each tensor as plain numbers; the host waits once for all of them."""
    packed = torch.cat([value.double().reshape(-1) for value in figures.values()]).tolist()
    plain: dict[str, list[float]] = {}
    for name, value in figures.items():
        plain[name], packed = packed[: value.numel()], packed[value.numel() :]
    return plain
