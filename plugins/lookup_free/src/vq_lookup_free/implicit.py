"""What quantizers without a table of codes share: digits and indices, masks, counting."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from vqcore.codebook.table import check_indices
from vqcore.codebook.usage import code_counts
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer

#: Most codes that are counted one by one; of more, the parts of an index are, each of at most so many values.
COUNTED = 2**16
#: Bits of the largest index that an int64 holds with room to spare.
INDEX_BITS = 62


class ImplicitQuantizer(Quantizer):
    """Rounds each coordinate by itself: a code is a row of digits, the i-th of them below ``levels[i]``.

    index = sum_i digit_i prod_(j<i) levels_j: the first digit counts least. Nothing is searched, looked up or learned,
    and nothing has a row for each code.

    Codes are tangent vectors at the manifold's origin, and so is everything here: the grid takes the place of the
    manifold's geometry. ``tangent`` of a subclass bounds z by itself and not by the manifold's ``tangent`` first, whose
    clip would keep codes far from the origin out of every latent's reach; regularizers may take ``expmap0`` of both
    all the same.

    ``assignments`` has one entry up to ``COUNTED`` codes. Of more, it has one for each part of the coordinates, in their
    order: as many of them as have that many values together.

    Args:
        levels: digits of each dimension; they set ``dim`` and ``codebook_size``.
        manifold: what the latents are points of.

    Raises:
        SettingError: if an index would not fit in ``INDEX_BITS``.
    """

    def __init__(self, *, levels: tuple[int, ...], manifold: Manifold) -> None:
        size = math.prod(levels)
        if size > 2**INDEX_BITS:
            raise SettingError(
                "codebook_size", size, f"at most 2**{INDEX_BITS}, what an index holds"
            )
        super().__init__(dim=len(levels), codebook_size=size, manifold=manifold)
        basis = list(accumulate(levels[:-1], mul, initial=1))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.register_buffer(
            "like", torch.empty(0), persistent=False
        )  # knows the module's number type
        #: Each of ``assignments``: its dimensions, from and to, and how many values they have.
        self.parts = [
            (start, stop, math.prod(levels[start:stop])) for start, stop in _ranges(levels)
        ]

    # -- what a subclass defines ---------------------------------------------

    @abstractmethod
    def digits(self, z: Tensor) -> Tensor:
        """Digits (..., d), int64, of the code that vectors z (..., d) are rounded to."""

    @abstractmethod
    def values(self, digits: Tensor) -> Tensor:
        """Codes (..., d) of digits (..., d), in ``dtype``."""

    def losses(self, z: Tensor, z_q: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weighted losses of vectors (N, d) and their codes over the tokens of ``mask`` (N,)."""
        return {}

    # -- the interface -------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """Of the codes: the module's, but never a half one, in which neighbours on a fine grid fall together."""
        return torch.promote_types(self.like.dtype, torch.float32)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        digits = self.digits(flat.detach())
        codes = self.values(digits).to(torch.promote_types(flat.dtype, self.dtype))
        z_q = torch.where(kept.unsqueeze(1), codes, 0)
        indices = torch.where(kept, self._index(digits), -1)
        assignments = tuple(self._use(flat, z_q, digits, kept, *part) for part in self.parts)
        return Quantized(
            z_q.view(z.shape), indices.view(z.shape[:-1]), self.losses(flat, z_q, kept), assignments
        )

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        return self._index(self.digits(z))

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        return self.lookup(indices)

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``. A compiled graph cannot refuse an index out of range: it leaves out its rest."""
        check_indices(indices, self.codebook_size)
        digits = indices.clamp(min=0).unsqueeze(-1) // self.basis % self.levels
        return torch.where((indices >= 0).unsqueeze(-1), self.values(digits), 0)

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        return torch.cat([next(parts) for _ in self.parts], -1).view(*shape, self.dim)

    @property
    def codebook(self) -> None:
        """None: there is no table."""
        return

    # -- indices and counts --------------------------------------------------

    def _index(self, digits: Tensor) -> Tensor:
        return (digits * self.basis).sum(-1)

    def _use(
        self, z: Tensor, z_q: Tensor, digits: Tensor, kept: Tensor, start: int, stop: int, size: int
    ) -> CodeAssignment:
        """How dimensions ``start`` to ``stop`` were used, by an index of their own below ``size``."""
        part = slice(start, stop)
        index = (digits[:, part] * (self.basis[part] // self.basis[start])).sum(1)
        index = torch.where(kept, index, -1)
        return CodeAssignment(z[:, part], z_q[:, part], index, kept, None, code_counts(index, size))


def _ranges(levels: tuple[int, ...]) -> list[tuple[int, int]]:
    """Dimensions as ranges (start, stop) of at most ``COUNTED`` values each, all in one if that will do."""
    starts, size = [0], 1
    for place, level in enumerate(levels):
        size *= level
        if size > COUNTED:
            starts, size = [*starts, place], level
    return list(zip(starts, [*starts[1:], len(levels)], strict=True))
