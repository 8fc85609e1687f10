"""The interface of a quantizer: from latents to codes, to indices and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold


@dataclass(frozen=True)
class CodeAssignment:
    """One codebook and the tokens it quantized in a forward pass.

    Attributes:
        z: tangent vectors, (N, d).
        z_q: tangent vectors of their codes, (N, d).
        indices: (N,) int64; -1 for a masked token.
        mask: (N,) bool, the tokens that count.
        codebook: points (K, A), or None where it is implicit.
        counts: how often each code was used, (K,) int64.
    """

    z: Tensor
    z_q: Tensor
    indices: Tensor
    mask: Tensor
    codebook: Tensor | None
    counts: Tensor


@dataclass(frozen=True)
class Quantized:
    """The result of every quantizer.

    Attributes:
        z_q: tangent vectors of the chosen codes, (..., D), with gradient to the codes where they are parameters.
        indices: (...) plus the quantizer's ``index_shape``, int64; -1 for a masked token.
        losses: weighted scalars by name, each a mean over tokens and dimensions.
        assignments: one entry a codebook, in the order of the last index axis. A codebook that groups or stages share has one
            entry for all groups and one for each stage; an implicit one of more codes than can be counted has one for
            each part of its index.
    """

    z_q: Tensor
    indices: Tensor
    losses: dict[str, Tensor]
    assignments: tuple[CodeAssignment, ...]


class Quantizer(nn.Module, ABC):
    """Replaces tangent vectors by codes. Combine quantizers by wrapping one, not by subclassing it.

    In training ``forward`` may gather statistics; only ``update`` changes the codebook with them, and only training
    enters a collective. In eval nothing changes.

    Args:
        dim: D, dimension of the latents.
        codebook_size: K, codes in each codebook.
        manifold: the space the codes live in.

    Attributes:
        dim: dimension of what ``forward`` takes. A quantizer whose own structure sets the dimension (one per bit, say)
            changes it in its constructor; the layer then projects in and out.
        codebook_size: number of codes; a quantizer may settle for fewer than it was asked for.
        index_shape: what a token's index looks like: ``()`` for one index, ``(G,)`` for groups or stages.
        factors: number of equal parts that a latent's dimensions fall into, each a tangent vector of its own: several
            where the space is a product of manifolds.
        synchronized: weight of the decoder's gradient on the chosen codes, beside the estimator's on the encoder.
    """

    index_shape: tuple[int, ...] = ()
    factors: int = 1
    synchronized: float = 0.0

    def __init__(self, *, dim: int, codebook_size: int, manifold: Manifold) -> None:
        super().__init__()
        self.dim, self.codebook_size, self.manifold = dim, codebook_size, manifold

    def tangent(self, z: Tensor) -> Tensor:
        """An encoder's output (..., D) as what ``forward`` takes: the manifold's tangent vector, or bounded otherwise.

        The layer calls it once; the estimator's gradient passes through it to the encoder.
        """
        return self.manifold.tangent(z)

    @abstractmethod
    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize tangent vectors z (..., D), float32 or float64; ``mask`` (...) is True for tokens that count."""

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Indices (..., *index_shape), int64, of tangent vectors z (..., D). Changes nothing, has no gradient."""

    @abstractmethod
    def decode(self, indices: Tensor) -> Tensor:
        """Tangent vectors (..., D) of indices (..., *index_shape); an index of -1 decodes to zero.

        Raises:
            SettingError: if an index is below -1 or not below ``codebook_size``.
        """

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """The code behind each index, (..., *index_shape, d) tangent vectors; ``decode`` puts them together.

        Raises:
            SettingError: as ``decode``.
        """

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Vectors (*shape, D) from one (N, d) for each entry of ``assignments``, taken from ``parts`` in their order.

        It is to ``assignments`` what ``decode`` is to ``lookup``: an estimator that replaces each codebook's codes by
        something near them gets the whole with it.
        """
        return next(parts).view(*shape, self.dim)

    @property
    @abstractmethod
    def codebook(self) -> Tensor | None:
        """Points (K, A), or (G, K, A) for several codebooks; None where the codebook is implicit."""

    def residual_scale(self) -> float:
        """How much smaller than a latent its quantization error is, where codes lie on a fixed grid; else 1.

        A residual quantizer enlarges the rest by it before the next stage.
        """
        return 1.0

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Apply the statistics gathered since the last call; call it after each optimizer step.

        Args:
            optimizer: where given, its moments of replaced codes are reset.
        """
        for inner in self.inner_quantizers():
            inner.update(optimizer)

    def replaced_codes(self) -> Tensor | None:
        """How many dead codes ``update`` has replaced so far, a scalar; None where that does not happen."""
        counts = [inner.replaced_codes() for inner in self.inner_quantizers()]
        known = [count for count in counts if count is not None]
        return torch.stack(known).sum() if known else None

    def inner_quantizers(self) -> Iterable[Quantizer]:
        """The quantizers this one wraps directly."""
        return [child for module in self.children() for child in _quantizers_in(module)]


def _quantizers_in(module: nn.Module) -> list[Quantizer]:
    if isinstance(module, Quantizer):
        return [module]
    return [found for child in module.children() for found in _quantizers_in(child)]


def merge_losses(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each named loss over groups or stages."""
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
