"""The random-projection quantizer of BEST-RQ (Chiu et al. 2022, arXiv:2202.01855)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.codebook import resizing
from vqcore.codebook.lookup import codes_at
from vqcore.codebook.losses import squared_error
from vqcore.codebook.usage import code_counts
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics import counter_rng
from vqcore.search import affine

#: Default dimension of the projection, the paper's choice.
CODE_DIM = 16


class RandomProjection(Quantizer):
    """index = argmax_k cos(c_k, P z) with a frozen random projection P (d, D) and table c (K, d).

    Its indices serve as targets of self-supervised learning on inputs of mean 0 and variance 1. P
    has orthonormal rows and codes have unit length; a code decodes to P^T c, a tangent vector of
    unit length. That works on any manifold but reconstructs poorly. The search is by the angle at
    the origin, which is the same on every manifold. Options: see ``RandomProjectionConfig``.

    Cost: one (N, D) x (D, d) and one (K, d) x (d, D) product, and the search, an (N, d) x (d, K)
    product, O(N + tile) memory.

    Raises:
        SettingError: if d, the option ``code_dim``, is above D.
    """

    recordable = True
    projection: Tensor
    directions: Tensor

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
            expected = f"at most dim = {dim}: a projection cannot add dimensions"
            raise SettingError("code_dim", code_dim, expected)
        self.code_dim = code_dim or min(CODE_DIM, dim)
        self.commitment_weight = commitment_weight
        key = counter_rng.key_of(int(torch.randint(2**31, (), device="cpu")))
        projection = _orthonormal(key, self.code_dim, dim)
        codes = F.normalize(counter_rng.normal(key + 1, codebook_size, self.code_dim), dim=1)
        self.register_buffer("projection", projection.to(torch.get_default_dtype()))
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
        x, chosen = self.manifold.expmap0(flat), F.embedding(found, points)
        commitment = squared_error(self.manifold, x, chosen, kept, self.dim)
        losses = {"commitment": self.commitment_weight * commitment}
        counts = code_counts(indices, self.codebook_size)
        assignment = CodeAssignment(flat, z_q, indices, kept, points, counts)
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, (assignment,))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        return self._search(z.reshape(-1, self.dim)).view(z.shape[:-1])

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        return codes_at(self._codes(), indices)

    @property
    def codebook(self) -> Tensor:
        """Points (K, A)."""
        return self.manifold.expmap0(self._codes())

    def resize_codebook(
        self, codebook_size: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Tensor:
        """See ``Quantizer.resize_codebook``. It keeps the first codes and draws new ones."""
        resizing.check_size(codebook_size)
        former, kept = self.codebook_size, self.directions[:codebook_size]
        key, count = counter_rng.key_of(former, codebook_size), codebook_size - len(kept)
        drawn = counter_rng.normal(key, count, self.code_dim, device=kept.device)
        self.directions = torch.cat([kept, F.normalize(drawn, dim=1).to(kept)])
        self.codebook_size = codebook_size
        return resizing.new_indices(torch.arange(len(kept), device=kept.device), former)

    def _codes(self) -> Tensor:
        """Tangent vectors (K, D): always the whole table, so that codes are equal to the bit."""
        return self.directions @ self.projection

    @torch.no_grad()
    def _search(self, z: Tensor) -> Tensor:
        """The largest inner product, which for codes of unit length is the largest cosine."""
        query = z @ self.projection.T.to(z.dtype)
        return affine.search(query, -self.directions, self.directions.new_zeros(self.codebook_size))


def _orthonormal(key: int, rows: int, columns: int) -> Tensor:
    """Random orthonormal rows (rows, columns), float64 (Mezzadri 2007, arXiv:math-ph/0609050)."""
    q, r = torch.linalg.qr(counter_rng.normal(key, columns, rows))
    return (q * r.diagonal().sign()).T.contiguous()
