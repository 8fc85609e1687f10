"""Index backpropagation, IBQ (Shi et al. 2024, arXiv:2412.02692)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vq_index_backpropagation.in_backward import in_backward
from vq_index_backpropagation.softmax_gradient import through_softmax
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics.stable import masked_mean

#: Coordinates of pairs of tokens and codes that a part of the distances holds, on a CPU and on an
#: accelerator.
PAIRED_CPU, PAIRED = 2**22, 2**24


class IndexBackpropagation(GradientEstimator):
    """out = sum_k (h_k + p_k - sg p_k) c_k, h the one-hot choice, p = softmax(-f/(temperature s)).

    c_k are the codes in tangent coordinates. f_k is the score by which the manifold searches, up to
    a constant of the token: the squared distance on flat space, the squared chord on the sphere. s
    is the mean score of the tokens' own codes above that of a code at the token itself, held
    constant: on flat space the mean squared quantization error, over the tokens that this process
    has in one pass. So neither the scale of the latents nor K changes the softness. The paper has
    inner products of 256 dimensions instead of -f.

    The value is z_q to the bit. With g = d loss / d out and a_k = g . c_k,
    d loss / d f_k = -p_k (a_k - sum_j p_j a_j)/(temperature s), which reaches the latent and all
    codes; the chosen code gets g, too. d out / d z is 2 Cov_p(c)/(temperature s) on flat space,
    which tends to the identity among dense codes as the temperature rises. Codes that are no
    parameters, and frozen ones, get nothing.

    The stages of a residual quantizer read the same latent; each of Q stages passes 1/Q of its
    gradient. For an implicit codebook and in ``forward``, which knows no codes, this is
    straight-through. Options: see ``IndexBackpropagationConfig``.

    Cost: nothing in the forward pass; in the backward pass four products like that of the search
    and N x K exponentials, O(N D + K D + tile) memory. On a manifold whose search has no keys, such
    as a product, the distances of all pairs instead, once, in parts that hold their coordinates.
    """

    def __init__(self, *, temperature: float = 1.0, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.temperature = temperature

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``: straight-through."""
        return z_q.detach() + (z - z.detach()).to(z_q.dtype)

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """See ``GradientEstimator.estimate``."""
        assignments = result.assignments
        if any(each.codebook is None for each in assignments):
            return self(z, result.z_q)
        readers = max(sum(each.z.numel() for each in assignments) // max(z.numel(), 1), 1)
        parts = (self._indexed(each, readers) for each in assignments)
        joined = quantizer.join(parts, tuple(z.shape[:-1]))
        return self(joined, result.z_q)

    def _indexed(self, assignment: CodeAssignment, readers: int) -> Tensor:
        """The chosen codes (N, d) of a codebook, with 1/readers of the gradient to its latents."""
        points = assignment.codebook
        assert points is not None  # ``estimate`` has checked
        x = self.manifold.expmap0(torch.lerp(assignment.z.detach(), assignment.z, 1 / readers))
        codes = self.manifold.logmap0(points.detach()).detach()
        if not self.manifold.has_keys:
            compared = self._compared(x, points, codes, assignment)
            return compared * assignment.mask.unsqueeze(1)
        centre = points.detach().mean(0)
        query = self.manifold.search_query(x, centre)
        weight, bias = self.manifold.search_keys(points, centre)
        with torch.no_grad():
            own = assignment.indices.clamp(min=0)
            there_weight, there_bias = self.manifold.search_keys(x, centre)
            apart = (query * (F.embedding(own, weight) - there_weight)).sum(1)
            apart = apart + bias.index_select(0, own) - there_bias
            sharpness = self._sharpness(apart, assignment.mask)
        query = torch.cat([query, torch.ones_like(query[:, :1])], 1)
        keys = torch.cat([weight, bias.unsqueeze(1)], 1)
        codes = codes.to(query.dtype)
        chosen = through_softmax(assignment.z_q, query, keys, codes, sharpness)
        return chosen * assignment.mask.unsqueeze(1)

    def _compared(self, x: Tensor, points: Tensor, codes: Tensor, given: CodeAssignment) -> Tensor:
        """The chosen codes (N, d), on a manifold without an affine search: p from distances."""
        with torch.no_grad():
            own = F.embedding(given.indices.clamp(min=0), points)
            sharpness = self._sharpness(self.manifold.squared_dist(x, own), given.mask)

        def soft(x: Tensor, points: Tensor) -> Tensor:
            squared = self.manifold.pairwise_squared_dist(x, points)
            return torch.softmax(squared * -sharpness, 1) @ codes

        held = PAIRED_CPU if x.device.type == "cpu" else PAIRED
        rows = max(1, held // points.numel())
        return in_backward(soft, rows, given.z_q, x, points, self.manifold.parameters())

    def _sharpness(self, own: Tensor, mask: Tensor) -> Tensor:
        """1 / (temperature s), s the mean of ``own`` (N,), what separates tokens from codes."""
        return 1 / (self.temperature * masked_mean(own, mask).clamp(min=1e-12))
