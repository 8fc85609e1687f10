"""The random-projection quantizer of BEST-RQ (Chiu et al. 2022, arXiv:2202.01855)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.codebook.table import check_indices, squared_error
from vqcore.codebook.usage import code_counts
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics import counter_rng
from vqcore.search import affine

#: Dimensions that are searched unless told otherwise, the paper's choice.
CODE_DIM = 16


class RandomProjection(Quantizer):
    """index = argmax_k cos(c_k, P z): a frozen random projection P (d, D) and a frozen random table of codes c (K, d).

    Made for its indices, as targets of self-supervised learning on inputs of mean 0 and variance 1. P has orthonormal
    rows and codes unit length, so that a code is decoded to P^T c, tangent vectors of unit length: a whole pipeline on
    any manifold, yet a poor one to reconstruct from. The search is by the angle at the origin, equal on every manifold.

    Cost: one (N, D) x (D, d) and one (K, d) x (d, D) product, and the search, an (N, d) x (d, K) product, O(N + tile)
    memory.

    Args:
        dim: D.
        codebook_size: K.
        manifold: the space of the latents.
        code_dim: d, at most D; None takes 16, or D where that is less.
        commitment_weight: weight (beta) of the only loss.

    Raises:
        SettingError: if d is above D.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        code_dim: int | None = None,
        commitment_weight: float = 0.25,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        if code_dim is not None and code_dim > dim:
            raise SettingError(
                "code_dim", code_dim, f"at most dim = {dim}: a projection cannot add dimensions"
            )
        self.code_dim, self.commitment_weight = code_dim or min(CODE_DIM, dim), commitment_weight
        key = counter_rng.key_of(int(torch.randint(2**31, ())))
        self.register_buffer(
            "projection", _orthonormal(key, self.code_dim, dim).to(torch.get_default_dtype())
        )
        codes = F.normalize(counter_rng.normal(key + 1, codebook_size, self.code_dim), dim=1)
        self.register_buffer("directions", codes.to(torch.get_default_dtype()))

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        found = self._search(flat)
        indices = torch.where(kept, found, -1)
        codes = self._codes()
        points = self.manifold.expmap0(codes)
        z_q = F.embedding(found, codes) * kept.unsqueeze(1)
        commitment = squared_error(
            self.manifold, self.manifold.expmap0(flat), F.embedding(found, points), kept, self.dim
        )
        use = CodeAssignment(
            flat, z_q, indices, kept, points, code_counts(indices, self.codebook_size)
        )
        losses = {"commitment": self.commitment_weight * commitment}
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, (use,))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        return self._search(z.reshape(-1, self.dim)).view(z.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        return self.lookup(indices)

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        check_indices(indices, self.codebook_size)
        return F.embedding(indices.clamp(min=0), self._codes()) * (indices >= 0).unsqueeze(-1)

    @property
    def codebook(self) -> Tensor:
        """Points (K, A)."""
        return self.manifold.expmap0(self._codes())

    def _codes(self) -> Tensor:
        """Tangent vectors (K, D), the whole table at once: so a code is the same to the bit wherever it is read."""
        return self.directions @ self.projection

    @torch.no_grad()
    def _search(self, z: Tensor) -> Tensor:
        """The largest inner product is the largest cosine, codes being of one length."""
        query = z @ self.projection.T.to(z.dtype)
        return affine.search(query, -self.directions, self.directions.new_zeros(self.codebook_size))


def _orthonormal(key: int, rows: int, columns: int) -> Tensor:
    """Orthonormal rows (rows, columns), float64, all directions alike (Mezzadri 2007, arXiv:math-ph/0609050)."""
    q, r = torch.linalg.qr(counter_rng.normal(key, columns, rows))
    return (q * r.diagonal().sign()).T.contiguous()
