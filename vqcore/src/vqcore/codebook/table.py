"""What every quantizer with an explicit table of codes shares: search, lookup, start and state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.codebook import dead_codes, initialization, resizing
from vqcore.codebook.usage import code_counts
from vqcore.distributed import is_active, sample_rows, sum_over_ranks
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics import counter_rng
from vqcore.numerics.stable import masked_mean


class CodebookQuantizer(Quantizer):
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
    #: Buffers that stay in float32 at least: half precision would round small updates away.
    statistics: ClassVar[tuple[str, ...]] = ("usage", "unused_steps", "replaced")

    has_started: Tensor  #: (K,), above 0 for codes that started from a batch, were set or loaded.
    usage: Tensor
    unused_steps: Tensor
    replaced: Tensor
    _counts: Tensor | None
    _pool: dead_codes.LatentPool

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        init: str = "data",
        init_scale: float | None = None,
        dead_codes: str = "usage",
        dead_code_threshold: float = 0.2,
        dead_code_patience: int = 100,
        dead_code_noise: float = initialization.NOISE,
        usage_decay: float = 0.95,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.init = init
        self.init_scale = init_scale
        self.by_usage = dead_codes == "usage"
        self.dead_code_threshold = dead_code_threshold
        self.dead_code_patience = dead_code_patience
        self.dead_code_noise = dead_code_noise
        self.usage_decay = usage_decay
        self.register_buffer("has_started", torch.zeros(codebook_size, dtype=torch.float32))
        self.register_buffer("usage", torch.ones(codebook_size, dtype=torch.float32))
        self.register_buffer("unused_steps", torch.zeros(codebook_size, dtype=torch.float32))
        self.register_buffer("replaced", torch.zeros((), dtype=torch.float32))
        self.seed = int(torch.randint(2**31, (), device="cpu"))
        self.step = 0
        self._started = False  # whether the host knows that all codes have started
        self._clear_statistics()

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

    @abstractmethod
    def codes(self) -> tuple[Tensor, Tensor]:
        """Tangent coordinates (K, D) and points (K, A), with gradient if it learns the table."""

    @abstractmethod
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Overwrite the codes where ``rows`` (K,) is True with ``points`` (K, A).

        Statistics and, with an optimizer, the moments of these codes start afresh.
        """

    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weighted losses between points x (N, A) and their codes (N, A), over ``mask`` (N,).

        By default those of a table with gradients: commitment moves x, the codebook term the codes.
        """
        commitment = squared_error(self.manifold, x, chosen.detach(), mask, self.dim)
        codebook = squared_error(self.manifold, x.detach(), chosen, mask, self.dim)
        return {
            "commitment": self.commitment_weight * commitment,
            "codebook": self.codebook_weight * codebook,
        }

    def gather(self, x: Tensor, indices: Tensor) -> None:
        """Accumulate statistics of points x (N, A) and indices (N,), -1 for masked tokens."""

    def learn(self, counts: Tensor) -> None:
        """Move the table by the gathered statistics; ``counts`` (K,) are those of all ranks.

        Every rank calls it, with or without tokens; it sums its own statistics over ranks.
        """

    # -- the interface -------------------------------------------------------

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        frozen = self.codes_frozen
        if not (self._started or frozen):
            self._start(flat.detach(), kept)
        codes, points = self._readable_codes()
        x = self.manifold.expmap0(flat)
        nearest = self.manifold.nearest(x.detach(), points.detach())
        indices = torch.where(kept, nearest, -1)
        z_q = F.embedding(nearest, codes) * kept.unsqueeze(1)
        losses = self.losses(x, z_q if points is codes else F.embedding(nearest, points), kept)
        counts = code_counts(indices, self.codebook_size)
        assignment = CodeAssignment(flat, z_q, indices, kept, points, counts)
        if not (frozen or _recomputing()):
            self._gather_statistics(assignment, x.detach())
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, (assignment,))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        x = self.manifold.expmap0(z.reshape(-1, self.dim))
        return self.manifold.nearest(x, self.codebook).view(z.shape[:-1])

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        return codes_at(self._readable_codes()[0], indices)

    @property
    def codebook(self) -> Tensor:
        """Points (K, A)."""
        return self._readable_codes()[1]

    @torch.no_grad()
    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``Quantizer.update``: learn from the gathered statistics, then replace dead codes."""
        if self.codes_frozen:
            self._clear_statistics()
            return
        if self._counts is None and not is_active():
            return
        counts = self._counts
        if counts is None:
            counts = torch.zeros_like(self.usage, dtype=torch.int64)
        sum_over_ranks(counts)
        self.learn(counts)
        dead_codes.track_usage(self.usage, self.unused_steps, counts, self.usage_decay)
        if self._replaces and self.step % dead_codes.REVIVE_EVERY == 0:
            self._replace_dead_codes(optimizer)
        self._started = self._started or self.started  # waits for the device until they have
        self._clear_statistics()
        self.step += 1

    def replaced_codes(self) -> Tensor:
        """See ``Quantizer.replaced_codes``."""
        return self.replaced

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
        for name in (*self.code_tensors, "has_started", "usage", "unused_steps"):
            resizing.take_rows(self, name, rows, optimizer)
        self.codebook_size = codebook_size
        self._clear_statistics()
        if len(copied):
            added = torch.arange(codebook_size, device=rows.device) >= former
            fresh = initialization.blurred(tangents, self._key(2), self.dead_code_noise)
            self.set_points(added, self.manifold.expmap0(fresh), optimizer)
            self.usage.masked_fill_(added, 1.0)
            self.unused_steps.masked_fill_(added, 0)
            self.has_started.masked_fill_(added, 0)
            self._started = False
        return resizing.new_indices(kept, former)

    # -- start, statistics, dead codes ---------------------------------------

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

    @torch.no_grad()
    def _start(self, z: Tensor, mask: Tensor) -> None:
        """Start the codes that have not; decided on the device: no graph break."""
        key = counter_rng.key_of(self.seed)
        points, found = initialization.from_latents(
            self.init, self.codebook_size, z, mask, self.manifold, key, self.init_scale
        )
        self.set_points(found & (self.has_started <= 0), points)
        self.has_started.masked_fill_(found, 1.0)

    def _readable_codes(self) -> tuple[Tensor, Tensor]:
        """``codes``, without gradient while they are frozen."""
        codes, points = self.codes()
        if not self.codes_frozen:
            return codes, points
        same = points is codes
        codes = codes.detach()
        return codes, codes if same else points.detach()

    @torch.no_grad()
    def _gather_statistics(self, assignment: CodeAssignment, x: Tensor) -> None:
        """Accumulate what ``update`` needs of one training forward."""
        counts = assignment.counts
        self._counts = counts.clone() if self._counts is None else self._counts + counts
        if self._replaces:
            recent = self._pool[1 - dead_codes.POOLED :]
            self._pool = [*recent, (assignment.z.detach(), assignment.mask)]
        self.gather(x, assignment.indices)

    def _clear_statistics(self) -> None:
        """Drop what was accumulated since the last update."""
        self._counts = None
        self._pool = []

    def _replace_dead_codes(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Replace dead codes with latents of recent batches, the same on every rank."""
        latents, mask = dead_codes.pooled(self._pool, self.dim, self.usage)
        rows, total = sample_rows(latents, mask, self.codebook_size, self._key(0))
        rows = initialization.blurred(rows, self._key(1), self.dead_code_noise)
        if self.by_usage:
            dead = self.usage < self.dead_code_threshold
        else:
            dead = self.unused_steps >= self.dead_code_patience
        dead = dead & (total > 0)
        self.set_points(dead, self.manifold.expmap0(rows), optimizer)
        self.usage.masked_fill_(dead, 1.0)
        self.unused_steps.masked_fill_(dead, 0)
        self.replaced.add_(dead.sum())

    @property
    def _replaces(self) -> bool:
        return self.dead_code_threshold > 0 or not self.by_usage

    def _key(self, purpose: int) -> int:
        return counter_rng.key_of(self.seed, self.step, purpose)

    # -- state ---------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Seed and step of the draws, as a tensor that safetensors can hold."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` returned."""
        self.seed, self.step = (int(value) for value in state[:2])

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Load codes with whether they have started, and drop statistics of the former ones.

        Without the codes, as where a filter by shape left them out, those here stay and start as
        they would have. Codes without the buffer have started, unless the extra state of version
        0.1 says otherwise.
        """
        mine = (name for name in state_dict if name.startswith(prefix))
        given = {name.removeprefix(prefix): state_dict[name] for name in mine}
        codes = given.keys() & set(self.code_tensors[:1] or given.keys() - _BESIDE_CODES)
        if not codes:
            state_dict[f"{prefix}has_started"] = self.has_started
        elif "has_started" not in given:
            extra = given.get("_extra_state", ())
            started = float(extra[2]) if len(extra) > 2 else 1.0
            device = given[min(codes)].device
            flags = torch.full_like(self.has_started, started, device=device)
            state_dict[f"{prefix}has_started"] = flags
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._started = not self.has_started.is_meta and self.started
        self._clear_statistics()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As ``nn.Module`` does, but the statistics never become half precision."""
        names = {*CodebookQuantizer.statistics, *self.statistics}
        before = {name: getattr(self, name) for name in names}
        super()._apply(fn, recurse)
        for name, value in before.items():
            moved = getattr(self, name)
            if moved.dtype.itemsize < 4:
                setattr(self, name, value.to(device=moved.device))
        return self


#: What the state dict of every table has beside the codes.
_BESIDE_CODES = {"has_started", "usage", "unused_steps", "replaced", "_extra_state"}


def in_full_precision(table: Tensor) -> Tensor:
    """The table in float32 at least: points of half-precision coordinates choose wrong codes."""
    return table.to(torch.promote_types(table.dtype, torch.float32))


def squared_error(manifold: Manifold, x: Tensor, y: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Mean squared distance of points (N, A) over the tokens of ``mask`` (N,), divided by D.

    In Euclidean space this is the mean squared error of the usual codebook and commitment losses.
    """
    return masked_mean(manifold.squared_dist(x, y), mask) / dim


def codes_at(codes: Tensor, indices: Tensor) -> Tensor:
    """The rows of ``codes`` (K, D) at indices (...), and zero at -1.

    Raises:
        SettingError: see ``check_indices``.
    """
    check_indices(indices, codes.shape[0])
    return F.embedding(indices.clamp(min=0), codes) * (indices >= 0).unsqueeze(-1)


def check_indices(indices: Tensor, codebook_size: int) -> None:
    """Refuse indices that are neither codes nor -1, a masked token.

    Raises:
        SettingError: naming the first bad index and the range.
    """
    if torch.compiler.is_compiling():
        return  # a compiled graph cannot raise; there the lookup itself fails out of range
    bad = indices[(indices < -1) | (indices >= codebook_size)]
    if bad.numel():
        expected = f"codes 0 to {codebook_size - 1}, or -1 for a masked token"
        raise SettingError("indices", int(bad[0]), expected)


def reset_rows(parameter: Tensor, rows: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Clear the optimizer's moments of replaced rows (K,) of a parameter (K, ...)."""
    for value in optimizer.state.get(parameter, {}).values() if optimizer is not None else ():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value.masked_fill_(rows.unsqueeze(1), 0)


def _recomputing() -> bool:
    """Whether activation checkpointing repeats this forward: it runs inside a backward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() >= 0
