"""What a regularizer is checked on: batches as the layer passes them, and the layer itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.regularizer import Regularizer
from vqcore.layer import VectorQuantizer
from vqcore.resolve import Choice
from vqcore.testing.rules import finite
from vqcore.testing.samples import gradients, normal, seeded

#: Dimension, codes and tokens of a batch; positions of a sample for terms of scope ``model``.
DIM, CODES, TOKENS, POSITIONS = 6, 8, 64, 4


def layer_with(
    module: Regularizer, manifold: Manifold, quantizer: Choice = "vqcore/codebook"
) -> tuple[VectorQuantizer, str]:
    """A layer with one regularizer, and the name of its loss."""
    with seeded(0):
        layer = VectorQuantizer(
            dim=DIM,
            codebook_size=CODES,
            manifold=manifold,
            quantizer=quantizer,
            regularizers=[module],
        )
    return layer, next(iter(layer.regularizers))


def draw_latents(samples: int = 16, seed: int = 0) -> Tensor:
    """Normal latents (samples, POSITIONS, DIM)."""
    return normal(samples, POSITIONS, DIM, seed=seed)


def extras_for(samples: int = 16) -> dict[str, Any]:
    """What a layer receives in addition to its latents (samples, POSITIONS, DIM)."""
    return {"inputs": normal(samples, 10, seed=7), "decode": _decoder()}


def train(layer: VectorQuantizer, z: Tensor, given: dict[str, Any]) -> None:
    """A training step."""
    layer(z, **given).loss.backward()
    layer.update()


def batch_of(
    module: Regularizer,
    manifold: Manifold,
    z: Tensor | None = None,
    codes: Tensor | None = None,
    mask: Tensor | None = None,
    step: int = 0,
) -> LatentBatch:
    """What the layer would pass for latents z (N, D) and codes (K, D); normal by default.

    A term of scope ``codebook`` receives one codebook and its tokens (N, D); one of scope ``model``
    receives latents (B, POSITIONS, D) with inputs, decoder and reconstruction.
    """
    z = normal(TOKENS, DIM) if z is None else z
    codes = normal(CODES, DIM, seed=1) if codes is None else codes
    u, c = (manifold.tangent(each).detach().requires_grad_() for each in (z, codes))
    points = manifold.expmap0(c)
    kept = torch.ones(len(z), dtype=torch.bool) if mask is None else mask
    nearest = manifold.nearest(manifold.expmap0(u), points)
    indices = torch.where(kept, nearest, -1)
    z_q = c[nearest] * kept.unsqueeze(1)
    if module.scope == "codebook":
        return LatentBatch(u, z_q, indices, points, manifold, step, kept)
    positions = POSITIONS if len(z) % POSITIONS == 0 else 1
    samples = len(z) // positions
    u, z_q = (each.reshape(samples, positions, DIM) for each in (u, z_q))
    indices, kept = (each.reshape(samples, positions) for each in (indices, kept))
    inputs, decoder = normal(samples, 10, seed=7, dtype=z.dtype), _decoder(z.dtype)
    return LatentBatch(u, z_q, indices, points, manifold, step, kept, inputs, decoder(z_q), decoder)


def check_finite(module: Regularizer, batch: LatentBatch, what: str) -> list[Any]:
    """The gradients of latents, codes and decoder, which are finite, as the term is."""
    term = module(batch)
    finite(term, f"the term of {what}")
    inputs = [batch.z, batch.z_q] + ([] if batch.codebook is None else [batch.codebook])
    inputs += list(batch.decode.parameters()) if isinstance(batch.decode, nn.Module) else []
    found = gradients(term, [each for each in inputs if each.requires_grad])
    for gradient in found:
        finite(gradient, f"a gradient of {what}")
    return found


def _decoder(dtype: torch.dtype = torch.float32) -> nn.Linear:
    with seeded(3):
        return nn.Linear(DIM, 3).to(dtype)
