"""The interface of a quantizer: from latents to codes, to indices and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from vqcore.errors import UsageError
from vqcore.interfaces.manifold import Manifold


@dataclass(frozen=True)
class CodeAssignment:
    """One codebook and the tokens it quantized in a forward pass.

    Attributes:
        z: tangent vectors, (N, d).
        z_q: tangent vectors of their codes, (N, d); zero for a masked token.
        indices: (N,) int64; -1 for a masked token.
        mask: (N,) bool, the tokens that count.
        codebook: points (K, A), or None if it is implicit.
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
    """The result of a quantizer.

    Attributes:
        z_q: tangent vectors of the codes, (..., D), with gradient to codes that are parameters.
        indices: (..., *index_shape) int64; -1 for a masked token.
        losses: weighted scalars by name, each a mean over tokens and dimensions.
        assignments: one for each codebook, in the order of the last index axis. A codebook that
            groups share has one for all groups, one that stages share has one for each stage. An
            implicit codebook of too many codes to count has one for each part of its index.
    """

    z_q: Tensor
    indices: Tensor
    losses: dict[str, Tensor]
    assignments: tuple[CodeAssignment, ...]


class Quantizer(nn.Module, ABC):
    """Replaces tangent vectors by codes. Combine quantizers by wrapping, not by subclassing.

    In training ``forward`` may gather statistics; only ``update`` changes the codebook with them.
    Collectives are entered in training alone. While ``codes_frozen``, as in eval, no state changes
    and no result has a gradient to the codes. No random draw depends on the rank or on torch's
    global generator, except in the constructor.

    Parameters and buffers alone decide which codes a module has: whoever copies or averages them
    gets the same codes. Buffers are floats, because torch averages no others.

    Args:
        dim: D, dimension of the latents.
        codebook_size: K, codes in each codebook.
        manifold: the space of the codes.

    Attributes:
        dim: dimension that ``forward`` takes. A quantizer whose structure sets it (one per bit, for
            example) changes it in its constructor; the layer then projects in and out.
        codebook_size: number of codes, which may be fewer than requested.
        index_shape: shape of a token's index: () for one index, (G,) for G groups or stages.
        factors: number of equal parts of a latent that are separate tangent vectors: several if the
            space is a product of manifolds.
        synchronized: weight of the decoder's gradient on the chosen codes, in addition to the
            estimator's on the encoder.
        fixed_size: why ``resize_codebook`` refuses, if it does.
        recordable: whether a CUDA graph of a training step can be replayed as other steps of its
            ``phase``: beside that, nothing that the host counts or reads decides what a step does.
    """

    index_shape: tuple[int, ...] = ()
    factors: int = 1
    synchronized: float = 0.0
    fixed_size: str = "its class has no resize_codebook"
    recordable: bool = False
    _frozen: bool = False

    def __init__(self, *, dim: int, codebook_size: int, manifold: Manifold) -> None:
        super().__init__()
        self.dim = dim
        self.codebook_size = codebook_size
        self.manifold = manifold

    def tangent(self, z: Tensor) -> Tensor:
        """An encoder's output (..., D) as ``forward`` takes it; the manifold's ``tangent``.

        The layer calls it once. The estimator's gradient passes through it to the encoder.
        """
        return self.manifold.tangent(z)

    @property
    def phase(self) -> Hashable:
        """What the next step does that others do not, as a key; the host counts steps for it."""
        return ()

    @abstractmethod
    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize tangent vectors z (..., D), float32 or float64.

        They are finite; those of the layer are made of numbers up to ``masking.largest``.
        ``mask`` (...) is True for tokens that count. The result for those is the same as without
        the others; there may be no token at all.
        """

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Indices (..., *index_shape), int64, of tangent vectors z (..., D), as in eval.

        Changes no state and has no gradient.
        """

    def decode(self, indices: Tensor) -> Tensor:
        """Tangent vectors (..., D) of indices (..., *index_shape); -1 decodes to zero.

        ``decode(encode(z))`` is the ``z_q`` of the eval forward, to the bit. By default it is
        ``lookup``: override both together if a token has several indices.

        Raises:
            SettingError: on a CPU, if an index is below -1 or not below ``codebook_size``. Nothing
                waits for an accelerator.
        """
        return self.lookup(indices)

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """The code of each index, (..., *index_shape, d) tangent vectors; ``decode`` joins them.

        Raises:
            SettingError: as ``decode``.
        """

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Vectors (*shape, D) from one tensor (N, d) for each of ``assignments``, in their order.

        It is to ``assignments`` what ``decode`` is to ``lookup``: an estimator that replaces the
        codes of each codebook assembles the whole with it.
        """
        return next(parts).view(*shape, self.dim)

    @property
    @abstractmethod
    def codebook(self) -> Tensor | None:
        """Points (K, A), or (G, K, A) for several codebooks; None if the codebook is implicit."""

    def residual_scale(self) -> float:
        """How much smaller than a latent its error is, if codes lie on a fixed grid; else 1.

        A residual quantizer enlarges the residual by it before the next stage.
        """
        return 1.0

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Apply the statistics gathered since the last call; called after each optimizer step.

        Args:
            optimizer: if given, its moments of replaced codes are reset.
        """
        for inner in self.inner_quantizers():
            inner.update(optimizer)

    @property
    def codes_frozen(self) -> bool:
        """Whether nothing may change the codes.

        This holds in eval, after ``freeze_codes``, and while a parameter that the module itself
        holds has ``requires_grad=False``.
        """
        return self._frozen or not self.training or self._holds_fixed_parameters()

    def _holds_fixed_parameters(self) -> bool:
        return not all(parameter.requires_grad for parameter in self.parameters(recurse=False))

    def freeze_codes(self) -> None:
        """Keep the codes as they are, in training too, until ``unfreeze_codes``.

        They get no gradient, no update by averages, no start and no replacement, and an optimizer
        leaves them alone, momentum and weight decay included. ``requires_grad_(False)`` does the
        same. It is no part of the state dict.
        """
        self._set_frozen(True)

    def unfreeze_codes(self) -> None:
        """Let the codes learn again, after ``freeze_codes`` or ``requires_grad_(False)``."""
        self._set_frozen(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As ``nn.Module`` does; codes that are no parameters are frozen, too."""
        super().requires_grad_(requires_grad)
        self._set_frozen(not requires_grad)
        return self

    def _set_frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        inner = list(self.inner_quantizers())
        for module in inner:
            module._set_frozen(frozen)
        foreign = {id(p) for module in (self.manifold, *inner) for p in module.parameters()}
        for parameter in self.parameters():
            if id(parameter) not in foreign:
                parameter.requires_grad_(not frozen)
                if frozen:
                    parameter.grad = None  # an optimizer would step with an old one

    def resize_codebook(
        self, codebook_size: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Tensor:
        """Change the number of codes of each codebook to ``codebook_size``.

        Growing keeps all codes with their indices. The new ones start at the next training batch,
        as those of a new quantizer do; until then they are near copies of the most used codes.
        Shrinking keeps the most used codes, in their order.

        Args:
            codebook_size: the new K.
            optimizer: if given, it continues with the new parameters and the moments of the codes
                kept. Otherwise build a new optimizer: an old one would train what is gone.

        Returns:
            The new index of each old code, int64, -1 for one that is gone: (K,), or (G, K) for
            several codebooks, like ``codebook``.

        Raises:
            SettingError: if ``codebook_size`` is below 1.
            UsageError: if the quantizer cannot be resized; the message has the reason.
        """
        kind = type(self).__name__
        raise UsageError(f"{kind}: its codebook cannot be resized: {self.fixed_size}")

    def replaced_codes(self) -> Tensor | None:
        """Number of dead codes replaced so far, a scalar tensor; None if none ever are."""
        counts = [inner.replaced_codes() for inner in self.inner_quantizers()]
        known = [count for count in counts if count is not None]
        return torch.stack(known).sum() if known else None

    def inner_quantizers(self) -> Iterable[Quantizer]:
        """The quantizers this one wraps directly."""
        return _quantizers_in(self)

    def extra_repr(self) -> str:
        """D and K, in the text of a model."""
        return f"dim={self.dim}, codebook_size={self.codebook_size}"


def _quantizers_in(module: nn.Module) -> list[Quantizer]:
    found = []
    for child in module.children():
        found += [child] if isinstance(child, Quantizer) else _quantizers_in(child)
    return found


def merge_losses(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each named loss over groups or stages."""
    return {name: mean_of([part[name] for part in parts]) for name in parts[0]}


def mean_of(terms: list[Tensor]) -> Tensor:
    """The mean of scalars, a single one as it is."""
    return torch.stack(terms).mean() if len(terms) > 1 else terms[0]
