"""Tables of codes of one kind, computed as one: the kernels of one table for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.codebook.lookup import check_indices
from vqcore.codebook.table import CodebookQuantizer
from vqcore.codebook.usage import slot_counts
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics.execution import is_recomputing
from vqcore.search import affine

#: The value of a setting that a table lacks.
_MISSING = object()
#: What a subclass of ``CodebookQuantizer`` inherits if it can be computed with others.
INHERITED = ("forward", "encode", "decode", "lookup", "codes", "gather", "update")


class EqualTables:
    """The codes of S groups or stages as rows of one table: those of slot s are s K + 1 to s K + K.

    Row 0 is the zero vector, the code of masked tokens. Only the search is one call a slot. A loss
    is a mean over the tokens of all slots, which is the mean of those of each slot: all have
    equally many, or none.
    """

    def __init__(
        self, tables: Sequence[CodebookQuantizer], slots: int, codes: Tensor, points: Tensor
    ) -> None:
        self.tables, self.slots = tables, slots
        self.codes, self.points = codes, points
        self.first = tables[0]
        self.size = self.first.codebook_size
        self.space = self.first.manifold
        nearest = type(self.first).choose_codes is CodebookQuantizer.choose_codes
        self._by_keys = nearest and self.space.keys_of_tables
        self._keys: Sequence[tuple[Tensor, ...]] | None = None

    @classmethod
    def of(cls, inner: Iterable[Quantizer], slots: int, settings: Iterable[str]) -> Self | None:
        """These quantizers as one, or None where each has to do something of its own.

        A single one has all slots. Codes that are about to start do so in turn.
        """
        tables = equal_tables(inner, settings)
        if tables is None or any(map(_acts_alone, tables)):
            return None
        stored = [table.stored() for table in tables]
        rows = torch.cat([torch.zeros_like(stored[0][:1]), *stored])
        return cls(tables, slots, *tables[0].readable(*tables[0].codes_of(rows)))

    def one_by_one(self) -> list[Self]:
        """Each slot by itself, with the same codes and searches to the bit."""
        return [self._alone(slot) for slot in range(self.slots)]

    def _alone(self, slot: int) -> Self:
        codes = torch.cat([self.codes[:1], self._of_slot(self.codes, slot)])
        points = codes
        if self.points is not self.codes:
            points = torch.cat([self.points[:1], self._of_slot(self.points, slot)])
        table = slot % len(self.tables)
        alone = type(self)([self.tables[table]], 1, codes, points)
        alone._keys = self.keys()[table : table + 1]
        return alone

    def nearest(self, slot: int, x: Tensor) -> Tensor:
        """The code (N,), 0 to K - 1, that a slot's table assigns to each point x (N, A)."""
        with torch.no_grad():  # as a decorator torch 2.11 cannot compile it
            if not self._by_keys:
                table = self.tables[slot % len(self.tables)]
                return table.choose_codes(x, self._of_slot(self.points, slot))
            centre, weight, bias = self.keys()[slot % len(self.tables)]
            return affine.search(self.space.search_query(x, centre), weight, bias)

    def keys(self) -> Sequence[tuple[Tensor, ...]]:
        """Centre, weight and bias of each table, see ``Manifold.search_keys``."""
        if self._keys is None and self._by_keys:
            with torch.no_grad():
                points = self.points[1:].unflatten(0, (-1, self.size))
                centres = points.mean(1, keepdim=True)
                keys = self.space.search_keys(points, centres)
                self._keys = list(zip(centres.squeeze(1), *keys, strict=True))
        return self._keys or ()

    def codes_of(self, slot: int, found: Tensor) -> Tensor:
        """Tangent vectors (N, d), without gradient, of codes (N,) of a slot."""
        return F.embedding(found, self._of_slot(self.codes, slot).detach())

    def quantized(self, z: Tensor, x: Tensor, found: Tensor, mask: Tensor, axis: int) -> Quantized:
        """The result for tokens z (S, N, d), their points x (S, N, A) and their codes (S, N).

        ``mask`` (S, N) marks those that count. All have the slots on ``axis``, 0 or 1, as have the
        vectors and indices of the result.
        """
        place = (found + 1) * mask  # 0 for masked tokens
        numbered = (place + self._first_rows(axis, found)) * mask
        rows = numbered if len(self.tables) > 1 else place
        z_q = F.embedding(rows, self.codes)
        chosen = z_q if self.points is self.codes else F.embedding(rows, self.points)
        losses = self.first.losses(x.flatten(0, 1), chosen.flatten(0, 1), mask.flatten())
        indices = place - 1
        counts = slot_counts(numbered.flatten(), self.slots * self.size).view(self.slots, self.size)
        points = [self._of_slot(self.points, slot) for slot in range(self.slots)]
        apart = (each.unbind(axis) for each in (z, z_q, indices, mask))
        assignments = tuple(map(CodeAssignment, *apart, points, counts.unbind()))
        if not (self.first.codes_frozen or is_recomputing()):
            self._gather(x.detach().flatten(0, 1), rows.flatten() - 1, assignments)
        return Quantized(z_q, indices, losses, assignments)

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes (..., S, d) of indices (..., S), zero at -1.

        Raises:
            SettingError: see ``check_indices``.
        """
        check_indices(indices, self.size)
        inside = indices.clamp(-1, self.size - 1)
        rows = inside + 1
        if len(self.tables) > 1:
            rows = (rows + self._first_rows(1, rows)) * (inside >= 0)
        codes = F.embedding(rows, self.codes)
        return torch.where((indices == inside).unsqueeze(-1), codes, torch.nan)  # see ``codes_at``

    def _gather(self, x: Tensor, indices: Tensor, assignments: Iterable[CodeAssignment]) -> None:
        """Accumulate in each table the statistics of points x (M, A) and of their codes (M,)."""
        for slot, assignment in enumerate(assignments):
            self.tables[slot % len(self.tables)].observe(assignment)
        with torch.no_grad():
            sums = self.first.sums_of(x, indices, len(self.codes) - 1)
            if sums is not None:
                for table, own in zip(self.tables, sums.split(self.size), strict=True):
                    table.add_sums(own)

    def _first_rows(self, axis: int, like: Tensor) -> Tensor:
        """The number of codes before those of each slot, (S, 1) or (S,)."""
        before = torch.arange(0, self.slots * self.size, self.size, device=like.device)
        return before if axis == 1 else before.unsqueeze(1)

    def _of_slot(self, rows: Tensor, slot: int) -> Tensor:
        start = 1 + slot % len(self.tables) * self.size
        return rows[start : start + self.size]


def equal_tables(
    inner: Iterable[Quantizer], settings: Iterable[str]
) -> list[CodebookQuantizer] | None:
    """These quantizers, if they are tables that differ in their codes alone.

    ``settings`` are the names that ``setting_names`` gives for one of them.
    """
    every = list(inner)
    tables = [each for each in every if isinstance(each, CodebookQuantizer)]
    alike = {(type(each), each.manifold, each.codes_frozen) for each in tables}
    if len(tables) < len(every) or len(alike) > 1:
        return None
    kind = type(tables[0])
    inherits = all(getattr(kind, name) is getattr(CodebookQuantizer, name) for name in INHERITED)
    return tables if inherits and all(_have_one_value(tables, name) for name in settings) else None


def setting_names(quantizer: Quantizer) -> tuple[str, ...]:
    """Its sizes and options; the seed of its draws may be another in each table.

    Found once, not in ``forward``: torch 2.11 cannot compile a look into ``vars`` of a module.
    """
    return tuple(
        name
        for name, value in vars(quantizer).items()
        if isinstance(value, (int, float, str)) and name[0] != "_" and name != "seed"
    )


def _have_one_value(tables: Sequence[CodebookQuantizer], name: str) -> bool:
    value, *others = (getattr(each, name, _MISSING) for each in tables)
    return all(other == value for other in others)


def _acts_alone(table: CodebookQuantizer) -> bool:
    """Whether its own ``forward`` has to be called."""
    return bool(table.apart or table.starts_now or table._forward_hooks or table._forward_pre_hooks)
