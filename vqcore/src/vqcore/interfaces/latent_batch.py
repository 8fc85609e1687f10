"""What a regularizer receives: the latents of one step, of one codebook or of the whole model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment
from vqcore.numerics.at_step import AtStep
from vqcore.numerics.step_counter import StepCounter


@dataclass(frozen=True)
class LatentBatch(AtStep):
    """The latents of one training step.

    For a regularizer of scope ``codebook`` the fields describe one codebook and the tokens it
    quantized; a grouped or residual quantizer has several, each passed in turn. For scope ``model``
    they describe the input and output of the whole bottleneck.

    Attributes:
        z: tangent vectors before quantization, (..., D), with gradient to the encoder.
        z_q: tangent vectors of their codes, (..., D), with gradient to codes that are parameters.
        indices: int64; -1 marks a masked token.
        codebook: points (K, A), with gradient if they are parameters; None if the codebook is
            implicit or there are several.
        manifold: the space of the points.
        steps: number of completed training steps, or what counts them.
        mask: (...) bool, the tokens that count; None if all do.
        inputs: the encoder's input, (B, ...); None unless the layer received it.
        reconstruction: the decoder's output; None unless the layer received the decoder.
        decode: the decoder as a function of tangent vectors shaped like z; None likewise.
        factors: number of equal parts of the last axis that are separate tangent vectors: groups.
        codebook_size: K, also of an implicit codebook; None for scope ``model``.
        step_on_device: the step as a scalar int64 where a graph of this pass is replayed later.
    """

    z: Tensor
    z_q: Tensor
    indices: Tensor
    codebook: Tensor | None
    manifold: Manifold
    steps: int | StepCounter
    mask: Tensor | None = None
    inputs: Tensor | None = None
    reconstruction: Tensor | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    factors: int = 1
    codebook_size: int | None = None
    step_on_device: Tensor | None = None

    def of_codebook(self, assignment: CodeAssignment) -> LatentBatch:
        """One codebook and its tokens, as a regularizer of scope ``codebook`` sees them."""
        return LatentBatch(
            assignment.z, assignment.z_q, assignment.indices, assignment.codebook, self.manifold,
            self.steps, assignment.mask, self.inputs, self.reconstruction,
            codebook_size=len(assignment.counts), step_on_device=self.step_on_device,
        )  # fmt: skip
