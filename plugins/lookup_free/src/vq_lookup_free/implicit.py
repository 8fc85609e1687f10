"""What quantizers without a table of codes share: digits, indices, masks and counts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor

from vqcore.codebook.lookup import in_range
from vqcore.codebook.usage import code_counts
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer

#: Largest number of codes to count one by one; of more, parts of the index are counted instead.
COUNTED = 2**16
#: Bits of the largest index; an int64 holds it with room to spare.
INDEX_BITS = 62


class ImplicitQuantizer(Quantizer):
    """Rounds each coordinate by itself: a code is a row of digits, digit i below ``levels[i]``.

    index = sum_i digit_i prod_(j<i) levels_j: the first digit is the least significant. Nothing is
    searched, looked up or learned, and no tensor has a row for each code. ``levels``, the number of
    digits of each dimension, set ``dim`` and ``codebook_size``.

    Codes are tangent vectors at the manifold's origin. A subclass's ``tangent`` bounds z itself,
    without the manifold's: its clip would keep latents from codes far from the origin.

    ``assignments`` has one entry for up to ``COUNTED`` codes, else one for each run of coordinates
    that has at most as many values.

    Raises:
        SettingError: if an index needs more than ``INDEX_BITS``.
    """

    recordable = True
    fixed_size = "its codes are a grid, not a table: build another one for that codebook_size"
    like: Tensor  #: Empty; it follows the device and dtype of the module.

    def __init__(self, *, levels: tuple[int, ...], manifold: Manifold) -> None:
        size = math.prod(levels)
        if size > 2**INDEX_BITS:
            expected = f"at most 2**{INDEX_BITS}, the largest index"
            raise SettingError("codebook_size", size, expected)
        super().__init__(dim=len(levels), codebook_size=size, manifold=manifold)
        device = torch.get_default_device()  # nothing would be loaded into tensors on meta
        like = torch.empty(0, device="cpu" if device.type == "meta" else device)
        self.register_buffer("like", like, persistent=False)
        self._levels = levels
        self._placed = self._on(like.device)
        #: First and last dimension of each entry of ``assignments``, and its number of values.
        self.parts = [(a, b, math.prod(levels[a:b])) for a, b in _ranges(levels)]

    @abstractmethod
    def digits(self, z: Tensor) -> Tensor:
        """Digits (..., d), int64, of the nearest code to vectors z (..., d)."""

    @abstractmethod
    def values(self, digits: Tensor) -> Tensor:
        """Codes (..., d) of digits (..., d), in ``dtype``."""

    def losses(self, z: Tensor, z_q: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weighted losses of vectors (N, d) and their codes over the tokens of ``mask`` (N,)."""
        return {}

    @property
    def dtype(self) -> torch.dtype:
        """The module's, but float32 at least: in half precision, codes of a fine grid coincide."""
        return torch.promote_types(self.like.dtype, torch.float32)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        digits = self.digits(flat.detach())
        codes = self.values(digits).to(torch.promote_types(flat.dtype, self.dtype))
        z_q = codes * kept.unsqueeze(1)
        indices = _masked(self._index(digits), kept)
        if len(self.parts) == 1:
            counts = code_counts(indices, self.codebook_size)
            assignments = [CodeAssignment(flat, z_q, indices, kept, None, counts)]
        else:
            assignments = [self._assignment(flat, z_q, digits, kept, *part) for part in self.parts]
        losses = self.losses(flat, z_q, kept)
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, tuple(assignments))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        return self._index(self.digits(z))

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        digits = indices.clamp(min=0).unsqueeze(-1) // self.basis % self.levels
        return in_range(self.values(digits), indices, self.codebook_size)

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        return torch.cat([next(parts) for _ in self.parts], -1).view(*shape, self.dim)

    @property
    def codebook(self) -> None:
        """None: there is no table."""
        return

    @property
    def levels(self) -> Tensor:
        """Number of digits of each dimension, (D,) int64."""
        return self.constants(torch.int64)[0]

    @property
    def basis(self) -> Tensor:
        """What one step of each digit adds to the index, (D,) int64."""
        return self.constants(torch.int64)[1]

    def constants(self, dtype: torch.dtype) -> Tensor:
        """Rows (R, D) where the module's buffers are now: ``levels`` and ``basis``, or ``grid``.

        They are no buffers: an average of weights would round whole numbers down, and ``to_empty``
        would leave them without values. FSDP moves buffers without a call that could be overridden.
        """
        if self._placed[dtype].device != self.like.device:
            self._placed = self._on(self.like.device)
        return self._placed[dtype]

    def grid(self) -> Sequence[Sequence[float]]:
        """Rows of numbers (R, D) that a subclass reads as ``constants`` of float32 or float64."""
        return []

    def _on(self, device: torch.device) -> dict[torch.dtype, Tensor]:
        basis = list(accumulate(self._levels[:-1], mul, initial=1))
        rows: dict[torch.dtype, Any] = {torch.int64: [self._levels, basis]}
        rows |= dict.fromkeys((torch.float32, torch.float64), self.grid())
        return {key: torch.tensor(value, dtype=key, device=device) for key, value in rows.items()}

    def _index(self, digits: Tensor) -> Tensor:
        return (digits * self.basis).sum(-1)

    def _assignment(
        self, z: Tensor, z_q: Tensor, digits: Tensor, kept: Tensor, start: int, stop: int, size: int
    ) -> CodeAssignment:
        """The assignment of dimensions ``start`` to ``stop``, whose index is below ``size``."""
        part = slice(start, stop)
        index = (digits[:, part] * (self.basis[part] // self.basis[start])).sum(1)
        index = _masked(index, kept)
        return CodeAssignment(z[:, part], z_q[:, part], index, kept, None, code_counts(index, size))


def _masked(indices: Tensor, kept: Tensor) -> Tensor:
    """-1 for the tokens that do not count."""
    return (indices + 1) * kept - 1


def _ranges(levels: tuple[int, ...]) -> list[tuple[int, int]]:
    """The fewest ranges (start, stop) of dimensions with at most ``COUNTED`` values each."""
    starts = [0]
    size = 1
    for place, level in enumerate(levels):
        size *= level
        if size > COUNTED:
            starts.append(place)
            size = level
    return list(zip(starts, [*starts[1:], len(levels)], strict=True))
