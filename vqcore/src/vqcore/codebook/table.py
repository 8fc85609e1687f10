"""What every quantizer with an explicit table of codes shares: search, lookup, start and state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.codebook import initialization, resizing
from vqcore.codebook.dead_codes import UsageTracking
from vqcore.codebook.lookup import codes_at
from vqcore.codebook.rows import take_rows
from vqcore.codebook.together import stacked
from vqcore.codebook.usage import slot_counts
from vqcore.distributed import is_active, sum_over_ranks
from vqcore.interfaces.manifold import require_dim
from vqcore.interfaces.quantizer import CodeAssignment, Quantized
from vqcore.numerics import counter_rng
from vqcore.numerics.execution import is_capturing, is_recomputing
from vqcore.numerics.stable import masked_mean

#: What the state dict of every table has beside the codes.
BESIDE_CODES = {
    "has_started", "usage", "unused_steps", "replaced", "weight_scale", "_extra_state"
}  # fmt: skip


class CodebookQuantizer(UsageTracking):
    """Nearest-code quantization over a table of points (K, A).

    Subclasses define how the codes are read (``codes``) and overwritten (``set_points``) and, if
    the table has no gradients, learned (``losses``, ``gather`` and ``learn``). Random draws depend
    on (seed, step) and on rank 0's seed alone, so they are the same for any number of processes.

    The codes start from the first training batch that has a token, see
    ``initialization.from_latents``. Until then they are drawn around the origin. Whether a code has
    started is a buffer, which goes wherever the codes go. Options: see ``CodebookConfig``;
    ``codebook_weight`` is for the default ``losses``.
    """

    #: Parameters and buffers with a row for each code, the codes first, which ``resize_codebook``
    #: needs and by which ``load_state_dict`` knows that codes were loaded.
    code_tensors: ClassVar[tuple[str, ...]] = ()
    fixed_size = "its class names no code_tensors"
    recordable = True
    #: Whether ``codes_of`` must not see rows of several tables together.
    apart: bool = False

    has_started: Tensor  #: (K,), above 0 for codes that started from a batch, were set or loaded.
    _gathered: Tensor | None

    def __init__(
        self,
        *,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        similarity: str = "distance",
        init: str = "data",
        init_scale: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        require_dim(self.manifold, self.dim)
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.similarity = similarity
        self.init = init
        self.init_scale = init_scale
        self.register_buffer("has_started", torch.zeros_like(self.usage))
        self._started = False  # whether the host knows that all codes have started

    def _holds_fixed_parameters(self) -> bool:
        """In a class without ``code_tensors`` they may never learn, which says nothing."""
        return bool(self.code_tensors) and super()._holds_fixed_parameters()

    def _starting_points(self) -> Tensor:
        """Points (K, A) drawn around the origin, for the table as it is built."""
        std = self.dim**-0.5 if self.init_scale is None else self.init_scale
        kind = "uniform" if self.init == "uniform" else "normal"
        like = torch.empty(0, dtype=torch.promote_types(torch.get_default_dtype(), torch.float32))
        key = counter_rng.key_of(self.seed)
        return initialization.around_origin(
            kind, self.codebook_size, self.dim, self.manifold, key, std, like
        )

    # -- what a subclass defines ---------------------------------------------

    def codes(self) -> tuple[Tensor, Tensor]:
        """Tangent coordinates (K, D) and points (K, A), with gradient if it learns the table.

        A class defines either this, or ``stored`` and, where the default does not fit,
        ``codes_of``. Groups and stages of tables that define the latter are computed as one.
        """
        return self.codes_of(self.stored())

    def stored(self) -> Tensor:
        """What the codes are computed from, (K, R), in float32 at least."""
        raise NotImplementedError(f"{type(self).__name__}: define stored() or codes()")

    def codes_of(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        """``codes`` of rows (..., R) of ``stored``, by default tangent coordinates."""
        return stored, self.manifold.expmap0(stored)

    @torch.no_grad()
    def choose_codes(self, x: Tensor, points: Tensor) -> Tensor:
        """The code (N,), int64 from 0 to K - 1, that each point x (N, A) is assigned to.

        By default the nearest one on the manifold. ``forward`` and ``encode`` call it; groups and
        stages call it for each of their tables. Override it for another search: through a tree, by
        hashing, among some of the codes. ``points`` (K, A) are the codes as they are now: prepare
        what a search needs of them here, and again when they have changed. The choice depends on x
        and the codes alone, and nothing waits for the device. Initial codes by k-means are found
        by the manifold's search, not by this one.
        """
        return self.manifold.nearest(x, points)

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weighted losses between points x (N, A) and their codes (N, A), over ``mask`` (N,).

        By default those of a table with gradients: commitment moves x, the codebook term the codes.
        """
        apart = self.manifold.squared_dist_apart(x, chosen)
        commitment, codebook = masked_mean(self.dissimilarity(apart), mask)
        if not (chosen.requires_grad or self.manifold.learns):  # frozen codes
            codebook = codebook.detach()
        return {
            "commitment": commitment * (self.commitment_weight / self.dim),
            "codebook": codebook * (self.codebook_weight / self.dim),
        }

    def dissimilarity(self, squared: Tensor) -> Tensor:
        """Squared distances as ``losses`` takes them: with ``inverse`` D (1 - 1/(1 + d^2/D)).

        Near a code both are d^2, and the nearest code is the same. The second is at most D, and its
        gradient falls with the distance, so that latents far from every code pull and move little.
        """
        if self.similarity == "distance":
            return squared
        return squared / (1 + squared / self.dim)

    def gather(self, x: Tensor, indices: Tensor) -> None:
        """Accumulate statistics of points x (N, A) and indices (N,), -1 for masked tokens.

        By default those of ``sums_of``, in ``_gathered``.
        """
        sums = self.sums_of(x, indices, self.codebook_size)
        if sums is not None:
            self.add_sums(sums)

    def sums_of(self, x: Tensor, indices: Tensor, rows: int) -> Tensor | None:
        """What ``learn`` needs of points x (N, A) for each of several codes, (rows, M), or None."""
        return None

    def add_sums(self, sums: Tensor) -> None:
        """Accumulate sums (K, M) of one training forward."""
        self._gathered = sums if self._gathered is None else self._gathered + sums

    def learn(self, counts: Tensor) -> None:
        """Move the table by the gathered statistics; ``counts`` (K,) are those of all ranks.

        Every rank calls it, with or without tokens; it sums its own statistics over ranks.
        """

    @classmethod
    def learn_together(cls, tables: Sequence[Self], counts: Tensor) -> None:
        """``learn`` of tables that differ in their codes alone; ``counts`` (T, K) are theirs.

        A class overrides this instead of ``learn`` to compute all of them as one.
        """
        for table, own in zip(tables, counts, strict=True):
            table.learn(own)

    # -- the interface -------------------------------------------------------

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        if self.starts_now:
            self._start(flat.detach(), kept)
        codes, points = self._readable_codes()
        x = self.manifold.expmap0(flat)
        nearest = self.choose_codes(x.detach(), points.detach())
        slots = (nearest + 1) * kept  # 0 for a masked token, also below
        indices = slots - 1
        z_q = F.embedding(slots, torch.cat([codes.new_zeros(1, codes.shape[1]), codes]))
        losses = self.losses(x, z_q if points is codes else F.embedding(nearest, points), kept)
        counts = slot_counts(slots, self.codebook_size)
        assignment = CodeAssignment(flat, z_q, indices, kept, points, counts)
        if not (self.codes_frozen or is_recomputing()):
            self.observe(assignment)
            with torch.no_grad():
                self.gather(x.detach(), indices)
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, (assignment,))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        x = self.manifold.expmap0(z.reshape(-1, self.dim))
        return self.choose_codes(x, self.codebook).view(z.shape[:-1])

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        return codes_at(self._readable_codes()[0], indices)

    @property
    def codebook(self) -> Tensor:
        """Points (K, A)."""
        return self._readable_codes()[1]

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``Quantizer.update``: learn from the gathered statistics, then replace dead codes."""
        self.update_together([self], optimizer)

    @classmethod
    @torch.no_grad()
    def update_together(
        cls, tables: Sequence[Self], optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """``update`` of tables that differ in their codes alone, in the kernels of one of them."""
        if tables[0].codes_frozen:
            for table in tables:
                table._clear_statistics()
            return
        everywhere = is_active()
        seen = [table for table in tables if everywhere or table._counts is not None]
        if not seen:
            return
        counts = stacked([table._counts_so_far() for table in seen])
        sum_over_ranks(counts)
        cls.learn_together(seen, counts)
        cls._track_usage(seen, counts)
        for table in seen:
            if not (table._started or is_capturing()):
                table._started = table.started  # waits for the device until they have
            table._end_step(optimizer)

    @torch.no_grad()
    def resize_codebook(
        self, codebook_size: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Tensor:
        """See ``Quantizer.resize_codebook``. Statistics since the last ``update`` are dropped."""
        if not self.code_tensors:
            return super().resize_codebook(codebook_size, optimizer)  # which raises
        resizing.check_size(codebook_size)
        former = self.codebook_size
        kept = resizing.most_used(self.usage, min(former, codebook_size)).sort().values
        copied = resizing.most_used(self.usage, codebook_size - len(kept))
        rows = torch.cat([kept, copied])
        tangents = self.codes()[0].index_select(0, rows)
        for name in (*self.code_tensors, "has_started", "usage", "unused_steps", "renewed"):
            take_rows(self, name, rows, optimizer)
        self.codebook_size = codebook_size
        self._clear_statistics()
        if len(copied):
            added = torch.arange(codebook_size, device=rows.device) >= former
            fresh = initialization.blurred(tangents, self._key(2), self.dead_code_noise)
            self.renew(added, self.manifold.expmap0(fresh), optimizer)
            self._reset_usage(added)
            self.has_started.masked_fill_(added, 0)
            self._started = False
        return resizing.new_indices(kept, former)

    def _clear_statistics(self) -> None:
        """Drop what was accumulated since the last update."""
        super()._clear_statistics()
        self._gathered = None

    # -- start ---------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether all codes have started from a batch, or were set or loaded.

        Reading it waits for the device.
        """
        return bool((self.has_started > 0).all())

    @started.setter
    def started(self, value: bool) -> None:
        self.has_started.fill_(float(value))
        self._started = value

    @property
    def starts_now(self) -> bool:
        """Whether ``forward`` would start codes, as far as the host knows."""
        return not (self._started or self.codes_frozen)

    @torch.no_grad()
    def _start(self, z: Tensor, mask: Tensor) -> None:
        """Start the codes that have not; decided on the device: no graph break."""
        key = counter_rng.key_of(self.seed)
        points, found = initialization.from_latents(
            self.init, self.codebook_size, z, mask, self.manifold, key, self.init_scale
        )
        self.renew(found & (self.has_started <= 0), points)
        self.has_started.masked_fill_(found, 1.0)

    def _readable_codes(self) -> tuple[Tensor, Tensor]:
        """``codes``, without gradient while they are frozen."""
        return self.readable(*self.codes())

    def readable(self, codes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The same, without gradient while codes are frozen."""
        if not self.codes_frozen:
            return codes, points
        same = points is codes
        codes = codes.detach()
        return codes, codes if same else points.detach()

    # -- state ---------------------------------------------------------------

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Load codes with whether they have started, and drop statistics of the former ones.

        If the codes are left out, as by a filter of shapes, those here stay, and start as they
        would have. Codes without ``has_started`` have, unless the extra state of version 0.1 says
        otherwise.
        """
        mine = (name for name in state_dict if name.startswith(prefix))
        given = {name.removeprefix(prefix): state_dict[name] for name in mine}
        codes = given.keys() & set(self.code_tensors[:1] or given.keys() - BESIDE_CODES)
        if not codes:
            state_dict[f"{prefix}has_started"] = self.has_started
        elif "has_started" not in given:
            extra = given.get("_extra_state", ())
            started = float(extra[2]) if len(extra) > 2 else 1.0
            flags = torch.full_like(self.has_started, started, device=given[min(codes)].device)
            state_dict[f"{prefix}has_started"] = flags
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._started = not self.has_started.is_meta and self.started
        self._clear_statistics()
