"""What every quantizer with an explicit table of codes shares: search, lookup, start, dead codes, state."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore import initialize
from vqcore.distributed import from_first_rank, sample_rows, sum_over_ranks
from vqcore.errors import SettingError
from vqcore.manifold import Manifold
from vqcore.metrics import code_counts
from vqcore.numerics import masked_mean
from vqcore.quantizer import CodeUse, Quantized, Quantizer

#: Length of the noise on a revived code, relative to the latent it copies: equal codes could never part again.
REVIVAL_NOISE = 0.01
#: Steps between two looks for dead codes; each draws K latents and as much noise.
REVIVE_EVERY = 10


class CodebookQuantizer(Quantizer):
    """Nearest-code quantization over a table (K, A) of points; how the table is stored and learned is abstract.

    Subclasses say how codes are read (``codes``), written (``set_points``) and learned (``losses``, and for tables
    that gradients do not reach, ``gather`` and ``learn``). Draws come from a generator seeded by (seed, step), so
    that any number of processes makes the same ones.

    Args:
        dim: D, dimension of the latents.
        codebook_size: K.
        manifold: the space of the codes.
        commitment_weight: weight (beta) of the commitment term.
        init: ``normal``, ``uniform``, ``data`` or ``kmeans``; the last two wait for the first training batch.
        dead_code_threshold: share of an equal usage below which a code is replaced; 0 never replaces.
        usage_decay: decay of the running usage that this is read from.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        commitment_weight: float = 0.25,
        init: str = "data",
        dead_code_threshold: float = 0.2,
        usage_decay: float = 0.95,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        self.commitment_weight, self.init = commitment_weight, init
        self.dead_code_threshold, self.usage_decay = dead_code_threshold, usage_decay
        self.register_buffer("usage", torch.ones(codebook_size))
        self.seed = int(torch.randint(2**31, ()))
        self.step = 0
        self.started = init in ("normal", "uniform")
        self._pending: Tensor | None = None
        self._pool: tuple[Tensor, Tensor] | None = None

    def _starting_points(self) -> Tensor:
        kind = self.init if self.started else "normal"
        return initialize.around_origin(kind, self.codebook_size, self.dim, self.manifold, self._generator())

    # -- what a subclass defines ------------------------------------------------------------------------------

    @abstractmethod
    def codes(self) -> tuple[Tensor, Tensor]:
        """Tangent coordinates (K, D) and points (K, A) of the table, with gradient where it is learned by one."""

    @abstractmethod
    def set_points(self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Overwrite the codes where ``rows`` (K,) is True by ``points`` (K, A), with whatever was learned of them."""

    @abstractmethod
    def losses(self, x: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weighted losses from points x (N, A) and their codes (N, A) over the tokens of ``mask`` (N,)."""

    def gather(self, x: Tensor, indices: Tensor) -> None:
        """Keep statistics of a training batch: points x (N, A) and indices (N,), -1 for masked tokens."""

    def learn(self) -> None:
        """Move the table by what ``gather`` kept, summed over ranks."""

    # -- the interface ----------------------------------------------------------------------------------------

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``."""
        flat = z.reshape(-1, self.dim)
        kept = flat.new_ones(flat.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1)
        if self.training and not self.started:
            self._start(flat.detach(), kept)
        codes, points = self.codes()
        x = self.manifold.expmap0(flat)
        nearest = self.manifold.nearest(x.detach(), points.detach())
        indices = torch.where(kept, nearest, -1)
        z_q = F.embedding(nearest, codes) * kept.unsqueeze(1)
        losses = self.losses(x, F.embedding(nearest, points), kept)
        use = CodeUse(flat, z_q, indices, kept, points, code_counts(indices, self.codebook_size))
        if self.training:
            self._observe(use, x.detach())
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), losses, (use,))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        x = self.manifold.expmap0(z.reshape(-1, self.dim))
        return self.manifold.nearest(x, self.codebook).view(z.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``."""
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
        if self._pending is None:
            return
        sum_over_ranks(self._pending)
        self.learn()
        seen = self._pending.sum()
        share = (self._pending * (self.codebook_size / seen.clamp(min=1))).to(self.usage.dtype)
        moved = self.usage.lerp(share, 1 - self.usage_decay)
        self.usage.copy_(torch.where(seen > 0, moved, self.usage))  # a step without tokens says nothing of the codes
        if self.dead_code_threshold > 0 and self.step % REVIVE_EVERY == 0:
            self._revive(optimizer)
        self._pending, self._pool = None, None
        self.step += 1

    # -- start, statistics, dead codes ------------------------------------------------------------------------

    @torch.no_grad()
    def _start(self, z: Tensor, mask: Tensor) -> None:
        points = initialize.from_latents(self.init, self.codebook_size, z, mask, self.manifold, self._generator())
        if points is not None:
            self.set_points(torch.ones_like(self.usage, dtype=torch.bool), points)
            self.started = True

    @torch.no_grad()
    def _observe(self, use: CodeUse, x: Tensor) -> None:
        self._pending = use.counts.clone() if self._pending is None else self._pending + use.counts
        self._pool = (use.z.detach(), use.mask)
        self.gather(x, use.indices)

    def _revive(self, optimizer: torch.optim.Optimizer | None) -> None:
        generator = self._generator()
        rows, total = sample_rows(*self._pool, self.codebook_size, generator)
        noise = torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
        noise = from_first_rank(noise.to(rows.device, non_blocking=True))
        rows = rows + REVIVAL_NOISE * rows.norm(dim=1, keepdim=True) / self.dim**0.5 * noise
        dead = (self.usage < self.dead_code_threshold) & (total > 0)
        self.set_points(dead, self.manifold.expmap0(rows), optimizer)
        self.usage.masked_fill_(dead, 1.0)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)

    # -- state ------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Seed, step and whether the codes have started, as a tensor that safetensors can hold."""
        return torch.tensor([self.seed, self.step, int(self.started)])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self.seed, self.step, started = (int(value) for value in state)
        self.started = bool(started)


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
    bad = indices[(indices < -1) | (indices >= codebook_size)]
    if bad.numel():
        raise SettingError("indices", int(bad[0]), f"codes 0 to {codebook_size - 1}, or -1 for a masked token")


def reset_rows(parameter: Tensor, rows: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Clear the optimizer's moments of replaced rows (K,) of a parameter (K, ...): they belong to codes now gone."""
    for value in optimizer.state.get(parameter, {}).values() if optimizer is not None else ():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value.masked_fill_(rows.unsqueeze(1), 0)
