"""What a regularizer is given: the latents of one step, from one codebook or from the whole model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vqcore.interfaces.manifold import Manifold


@dataclass(frozen=True)
class LatentBatch:
    """The latents of one training step.

    For a regularizer of scope ``codebook`` the fields describe one codebook and the tokens it quantized (a grouped or
    residual quantizer has several, each in its turn); for scope ``model`` they describe the bottleneck's whole input
    and output.

    Attributes:
        z: tangent vectors before quantization, (..., D), with gradient to the encoder.
        z_q: tangent vectors of the chosen codes, (..., D), with gradient to the codes where they are parameters.
        indices: int64; -1 marks a masked token.
        codebook: points (K, A), with gradient where they are parameters; None where it is implicit or there are many.
        manifold: the space of the points.
        step: number of training steps done so far.
        mask: (...) bool, the tokens that count; None when all do.
        inputs: what the encoder was given, or None when the layer stands alone.
        reconstruction: the decoder's output, or None likewise.
        decode: the decoder as a function of tangent vectors shaped like z, or None likewise.
        factors: number of equal parts of the last axis that are a tangent vector each, as groups are.
        codebook_size: K, also where the codebook is implicit; None for scope ``model``.
    """

    z: Tensor
    z_q: Tensor
    indices: Tensor
    codebook: Tensor | None
    manifold: Manifold
    step: int
    mask: Tensor | None = None
    inputs: Tensor | None = None
    reconstruction: Tensor | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    factors: int = 1
    codebook_size: int | None = None
