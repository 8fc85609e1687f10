"""How the checks build, start and train a quantizer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import Quantizer
from vqcore.layer import VectorQuantizer
from vqcore.testing.samples import gradients, normal, seeded

#: Tokens of a batch.
TOKENS = 64
#: Learning rate of the gradient descent in the checks.
RATE = 0.05


class QuantizerBench:
    """Part of ``QuantizerConformance``.

    Attributes:
        dim: D requested from the quantizer.
        codebook_size: K requested from it.
        tokens: number of tokens of a batch.
    """

    dim: int = 8
    codebook_size: int = 16
    tokens: int = TOKENS

    def make(self, *, dim: int, codebook_size: int, manifold: Manifold) -> Quantizer:
        """A new quantizer, built with the options to be tested."""
        raise NotImplementedError("make: return the quantizer to be tested")

    def manifolds(self) -> Sequence[Manifold]:
        """The manifolds to check on."""
        return [Euclidean()]

    def fresh(self, manifold: Manifold, *, wider: int = 0, seed: int = 0) -> VectorQuantizer:
        """An untrained layer around the quantizer, with D larger by ``wider`` than its codes'."""
        with seeded(seed):
            manifold = copy.deepcopy(manifold)
            built = self.make(dim=self.dim, codebook_size=self.codebook_size, manifold=manifold)
            return VectorQuantizer(
                dim=built.dim + wider,
                code_dim=built.dim,
                codebook_size=built.codebook_size,
                manifold=manifold,
                quantizer=built,
            )

    def started(
        self, manifold: Manifold, *, wider: int = 0, channel_first: bool = False
    ) -> VectorQuantizer:
        """The layer after one training step, whose codes have started."""
        layer = self.fresh(manifold, wider=wider)
        train_step(layer, self.latents(layer, seed=100))
        layer.channel_first = channel_first
        return layer

    def both(self, manifold: Manifold) -> tuple[VectorQuantizer, VectorQuantizer]:
        """An untrained layer and a started one."""
        return self.fresh(manifold), self.started(manifold)

    def latents(
        self, layer: VectorQuantizer, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Normal latents (*shape, D) of the layer's width; ``tokens`` rows by default."""
        return normal(*(shape or (self.tokens,)), layer.dim, seed=seed, dtype=dtype)

    def tangents(
        self, layer: VectorQuantizer, *shape: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The quantizer's own input: latents after its ``tangent``."""
        return layer.quantizer.tangent(self.latents(layer, *shape, dtype=dtype)).detach()


@dataclass(frozen=True)
class Step:
    """The output and the gradients, by name, of a training step."""

    out: Output
    grads: dict[str, Any]


def backward(layer: VectorQuantizer, z: Tensor, out: Output) -> dict[str, Any]:
    """Gradients of the layer's loss and output for the latents z and every parameter, by name."""
    named = {"z": z, **dict(layer.named_parameters())}
    total = out.loss + out.quantized.square().sum() / TOKENS  # a mean would weigh masked tokens
    return dict(zip(named, gradients(total, list(named.values())), strict=True))


def train_step(layer: VectorQuantizer, z: Tensor, mask: Tensor | None = None) -> Step:
    """Forward, backward, a step of gradient descent, update."""
    z = z.detach().clone().requires_grad_()
    out = layer(z, mask=mask)
    grads = backward(layer, z, out)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if grads[name] is not None:
                parameter.sub_(RATE * grads[name])
    layer.update()
    return Step(out, grads)
