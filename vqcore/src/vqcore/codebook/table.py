"""What every quantizer with an explicit table of codes shares: search, lookup, start, dead codes, state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.codebook import initialization
from vqcore.codebook.usage import code_counts
from vqcore.distributed import is_active, sample_rows, sum_over_ranks
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized, Quantizer
from vqcore.numerics import counter_rng
from vqcore.numerics.stable import masked_mean

#: Micro-batches whose latents are kept for the next look for dead codes: the last ones.
POOLED = 16
#: Steps between two looks for dead codes; each draws K latents and as much noise.
REVIVE_EVERY = 10


class CodebookQuantizer(Quantizer):
    """Nearest-code quantization over a table (K, A) of points; how the table is stored and learned is abstract.

    Subclasses say how codes are read (``codes``), written (``set_points``) and learned (``losses``, and for tables
    that gradients do not reach, ``gather`` and ``learn``). Draws are a function of (seed, step) and of the first
    rank's seed, so that any number of processes makes the same ones.

    The table starts with the first training batch that has a token: see ``initialization.from_latents``. Until then it
    holds codes drawn around the origin.

    Args:
        dim: D, dimension of the latents.
        codebook_size: K.
        manifold: the space of the codes.
        commitment_weight: weight (beta) of the commitment term.
        init: ``normal``, ``uniform``, ``wrapped-normal``, ``data`` or ``kmeans``.
        init_scale: standard deviation per coordinate of the first three; None takes the latents'.
        dead_codes: which codes are replaced by latents: by ``usage``, or the ``least-recently-used``.
        dead_code_threshold: share of an equal usage below which a code is replaced; 0 never replaces.
        dead_code_patience: steps without a token after which a code is the least recently used.
        dead_code_noise: length of the noise on a code that copies a latent, relative to it.
        usage_decay: decay of the running usage that the threshold is held against.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        commitment_weight: float = 0.25,
        init: str = "data",
        init_scale: float | None = None,
        dead_codes: str = "usage",
        dead_code_threshold: float = 0.2,
        dead_code_patience: int = 100,
        dead_code_noise: float = initialization.NOISE,
        usage_decay: float = 0.95,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        self.commitment_weight, self.init, self.init_scale = commitment_weight, init, init_scale
        self.by_usage = dead_codes == "usage"
        self.dead_code_threshold, self.dead_code_patience = dead_code_threshold, dead_code_patience
        self.dead_code_noise, self.usage_decay = dead_code_noise, usage_decay
        self.register_buffer("usage", torch.ones(codebook_size, dtype=torch.float32))
        self.register_buffer("unused_steps", torch.zeros(codebook_size, dtype=torch.int64))
        self.register_buffer("replaced", torch.zeros((), dtype=torch.int64))
        self.seed = int(torch.randint(2**31, (), device="cpu"))
        self.step = 0
        self._started, self._begun = False, torch.zeros((), dtype=torch.bool)
        self._forget()

    #: Buffers that stay in float32 at least: a hundredth of a new token is below the last digit of half precision.
    statistics: ClassVar[tuple[str, ...]] = ("usage",)

    def _starting_points(self) -> Tensor:
        std = self.dim**-0.5 if self.init_scale is None else self.init_scale
        kind = "uniform" if self.init == "uniform" else "normal"
        like = torch.empty(0, dtype=torch.promote_types(torch.get_default_dtype(), torch.float32))
        return initialization.around_origin(
            kind,
            self.codebook_size,
            self.dim,
            self.manifold,
            counter_rng.key_of(self.seed),
            std,
            like,
        )

    # -- what a subclass defines ---------------------------------------------

    @abstractmethod
    def codes(self) -> tuple[Tensor, Tensor]:
        """Tangent coordinates (K, D) and points (K, A) of the table, with gradient where it is learned by one."""

    @abstractmethod
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Overwrite the codes where ``rows`` (K,) is True by ``points`` (K, A), with whatever was learned of them."""

    @abstractmethod
    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weighted losses from points x (N, A) and their codes (N, A) over the tokens of ``mask`` (N,)."""

    def gather(self, x: Tensor, indices: Tensor) -> None:
        """Keep statistics of a training batch: points x (N, A) and indices (N,), -1 for masked tokens."""

    def learn(self, counts: Tensor) -> None:
        """Move the table by what ``gather`` kept, summed over ranks; ``counts`` (K,) are the tokens of all ranks."""

    # -- the interface -------------------------------------------------------

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        if self.training and not self._started:
            self._start(flat.detach(), kept)
        codes, points = self.codes()
        x = self.manifold.expmap0(flat)
        nearest = self.manifold.nearest(x.detach(), points.detach())
        indices = torch.where(kept, nearest, -1)
        z_q = F.embedding(nearest, codes) * kept.unsqueeze(1)
        losses = self.losses(x, z_q if points is codes else F.embedding(nearest, points), kept)
        use = CodeAssignment(
            flat, z_q, indices, kept, points, code_counts(indices, self.codebook_size)
        )
        if self.training and not _recomputing():
            self._observe(use, x.detach())
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, (use,))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        x = self.manifold.expmap0(z.reshape(-1, self.dim))
        return self.manifold.nearest(x, self.codebook).view(z.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
        return self.lookup(indices)

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        check_indices(indices, self.codebook_size)
        codes, _ = self.codes()
        return F.embedding(indices.clamp(min=0), codes) * (indices >= 0).unsqueeze(-1)

    @property
    def codebook(self) -> Tensor:
        """Points (K, A)."""
        return self.codes()[1]

    @torch.no_grad()
    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``Quantizer.update``: learn from the gathered statistics, then replace dead codes."""
        if self._counts is None and not is_active():
            return
        counts = torch.zeros_like(self.unused_steps) if self._counts is None else self._counts
        sum_over_ranks(counts)
        self.learn(counts)
        self._watch(counts)
        if self._replaces and self.step % REVIVE_EVERY == 0:
            self._revive(optimizer)
        self._started = self._started or bool(
            self._begun
        )  # the host waits for the device until codes have started
        self._forget()
        self.step += 1

    def replaced_codes(self) -> Tensor:
        """See ``Quantizer.replaced_codes``."""
        return self.replaced

    # -- start, statistics, dead codes ---------------------------------------

    @property
    def started(self) -> bool:
        """Whether the codes have started from a batch, or were set or loaded. Reading it waits for the device."""
        return self._started or bool(self._begun)

    @started.setter
    def started(self, value: bool) -> None:
        self._started = value

    @torch.no_grad()
    def _start(self, z: Tensor, mask: Tensor) -> None:
        """Start the codes unless an earlier forward of this step has; decided on the device, no graph breaks here."""
        points, found = initialization.from_latents(
            self.init,
            self.codebook_size,
            z,
            mask,
            self.manifold,
            counter_rng.key_of(self.seed),
            self.init_scale,
        )
        first = found & ~self._begun.to(found.device)
        self.set_points(first.expand(self.codebook_size), points)
        self._begun = self._begun.to(found.device) | found

    @torch.no_grad()
    def _observe(self, use: CodeAssignment, x: Tensor) -> None:
        self._counts = use.counts.clone() if self._counts is None else self._counts + use.counts
        if self._replaces:
            self._pool = [*self._pool[1 - POOLED :], (use.z.detach(), use.mask)]
        self.gather(x, use.indices)

    def _forget(self) -> None:
        self._counts: Tensor | None = None
        self._pool: list[tuple[Tensor, Tensor]] = []

    def _watch(self, counts: Tensor) -> None:
        """Bring the running usage up to date; a step without tokens says nothing of the codes."""
        seen = counts.sum()
        share = (counts * (self.codebook_size / seen.clamp(min=1))).to(self.usage.dtype)
        self.usage.copy_(
            torch.where(seen > 0, self.usage.lerp(share, 1 - self.usage_decay), self.usage)
        )
        idle = self.unused_steps + (seen > 0)
        self.unused_steps.copy_(torch.where(counts > 0, 0, idle))

    def _revive(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Put latents of this step in the place of dead codes, the same ones on every rank."""
        latents = (
            torch.cat([z for z, _ in self._pool])
            if self._pool
            else self.usage.new_zeros(0, self.dim)
        )
        mask = (
            torch.cat([kept for _, kept in self._pool])
            if self._pool
            else self.usage.new_zeros(0, dtype=torch.bool)
        )
        rows, total = sample_rows(latents, mask, self.codebook_size, self._key())
        rows = initialization.blurred(rows, self._key(1), self.dead_code_noise)
        lost = (
            self.usage < self.dead_code_threshold
            if self.by_usage
            else self.unused_steps >= self.dead_code_patience
        )
        dead = lost & (total > 0)
        self.set_points(dead, self.manifold.expmap0(rows), optimizer)
        self.usage.masked_fill_(dead, 1.0)
        self.unused_steps.masked_fill_(dead, 0)
        self.replaced.add_(dead.sum())

    @property
    def _replaces(self) -> bool:
        return self.dead_code_threshold > 0 or not self.by_usage

    def _key(self, purpose: int = 0) -> int:
        return counter_rng.key_of(self.seed, self.step, purpose)

    # -- state ---------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Seed, step and whether the codes have started, as a tensor that safetensors can hold."""
        return torch.tensor([self.seed, self.step, int(self.started)])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self.seed, self.step, started = (int(value) for value in state)
        self._started, self._begun = bool(started), torch.zeros((), dtype=torch.bool)
        self._forget()  # what was gathered before belongs to the codes of before

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CodebookQuantizer:
        """Moves the module as ``nn.Module`` does; its statistics go along to the device, never to half precision."""
        before = {name: getattr(self, name) for name in self.statistics}
        super()._apply(fn, recurse)
        for name, value in before.items():
            moved = getattr(self, name)
            if torch.finfo(moved.dtype).bits < 32:
                setattr(self, name, value.to(device=moved.device))
        return self


def in_full_precision(table: Tensor) -> Tensor:
    """A table of codes in float32 at least: points made of half-precision coordinates would choose wrong codes."""
    return table.to(torch.promote_types(table.dtype, torch.float32))


def squared_error(manifold: Manifold, x: Tensor, y: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Mean of the squared distance of points (N, A) over the tokens of ``mask`` and the D dimensions.

    In Euclidean space this is the mean squared error of the field's codebook and commitment losses.
    """
    return masked_mean(manifold.squared_dist(x, y), mask) / dim


def check_indices(indices: Tensor, codebook_size: int) -> None:
    """Refuse indices that are no codes (-1, a masked token, is let through).

    Raises:
        SettingError: naming the first bad index and the range.
    """
    if torch.compiler.is_compiling():
        return  # a compiled graph cannot stop for a message; an index out of range fails in the lookup itself
    bad = indices[(indices < -1) | (indices >= codebook_size)]
    if bad.numel():
        raise SettingError(
            "indices", int(bad[0]), f"codes 0 to {codebook_size - 1}, or -1 for a masked token"
        )


def reset_rows(parameter: Tensor, rows: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Clear the optimizer's moments of replaced rows (K,) of a parameter (K, ...): they belong to codes now gone."""
    for value in optimizer.state.get(parameter, {}).values() if optimizer is not None else ():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value.masked_fill_(rows.unsqueeze(1), 0)


def _recomputing() -> bool:
    """Whether this forward is the second one of activation checkpointing: it runs inside a backward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() >= 0
