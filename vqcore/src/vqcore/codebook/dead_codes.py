"""Dead codes: usage tracking, which codes count as dead, and the latents that replace them.

Nothing here waits for the device.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from vqcore.codebook.initialization import NOISE, blurred
from vqcore.codebook.together import as_one
from vqcore.distributed import is_active, sample_rows
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantizer
from vqcore.numerics import counter_rng
from vqcore.numerics.execution import is_capturing
from vqcore.numerics.step_counter import StepCounter, is_for_all_steps

#: Training batches whose latents are kept as candidates for replacement: the most recent ones.
POOLED = 16
#: Steps between two replacements; each draws K latents and as much noise.
REPLACE_EVERY = 10


class UsageTracking(Quantizer):
    """A quantizer that counts the tokens of each code and replaces dead codes by recent latents.

    Random draws depend on (seed, step) and on rank 0's seed alone, so they are the same for any
    number of processes. Options: see ``CodebookConfig``.
    """

    #: Buffers that stay in float32 at least: half precision would round small updates away.
    statistics: ClassVar[tuple[str, ...]] = ("usage", "unused_steps", "replaced")

    usage: Tensor  #: (K,), relative to an equal share: 1 is average use; decays by ``usage_decay``.
    unused_steps: Tensor  #: (K,), steps since the code last had a token.
    replaced: Tensor  #: How many codes have been replaced so far, a scalar.
    renewed: Tensor  #: (K,), above 0 for codes that began anew; who averages codes clears it.
    _counts: Tensor | None  # (K,) since the last update
    _pool: list[tuple[Tensor, Tensor]]  # latents (N, D) and masks (N,) of recent training batches

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        dead_codes: str = "usage",
        dead_code_threshold: float = 0.2,
        dead_code_patience: int = 100,
        dead_code_noise: float = NOISE,
        usage_decay: float = 0.95,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        self.by_usage = dead_codes == "usage"
        self.dead_code_threshold = dead_code_threshold
        self.dead_code_patience = dead_code_patience
        self.dead_code_noise = dead_code_noise
        self.usage_decay = usage_decay
        self.register_buffer("usage", torch.ones(codebook_size, dtype=torch.float32))
        self.register_buffer("unused_steps", torch.zeros(codebook_size, dtype=torch.float32))
        self.register_buffer("replaced", torch.zeros((), dtype=torch.float32))
        self.register_buffer("renewed", torch.zeros(codebook_size), persistent=False)
        self.seed = int(torch.randint(2**31, (), device="cpu"))
        self._steps = StepCounter()
        self._clear_statistics()

    @abstractmethod
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Overwrite the codes where ``rows`` (K,) is True with ``points`` (K, A).

        Statistics and, with an optimizer, the moments of these codes start afresh.
        """

    def renew(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """``set_points``, noted in ``renewed``: these codes are others than before."""
        self.set_points(rows, points, optimizer)
        self.renewed.masked_fill_(rows, 1.0)

    # -- since the last update -----------------------------------------------

    def observe(self, assignment: CodeAssignment) -> None:
        """Accumulate the tokens of one training forward, for usage and replacements."""
        counts = assignment.counts
        self._counts = counts if self._counts is None else self._counts + counts
        if self._replaces:
            self._pool = [*self._pool[1 - POOLED :], (assignment.z.detach(), assignment.mask)]

    def _counts_so_far(self) -> Tensor:
        """Counts (K,) since the last update; a copy where ranks sum them in place."""
        if self._counts is None:
            return torch.zeros_like(self.usage, dtype=torch.int64)
        return self._counts.clone() if is_active() else self._counts

    def _clear_statistics(self) -> None:
        """Drop what was accumulated since the last update."""
        self._counts = None
        self._pool = []

    # -- in an update --------------------------------------------------------

    @staticmethod
    def _track_usage(tables: Sequence[UsageTracking], counts: Tensor) -> None:
        """Update usage statistics by a step's ``counts`` (T, K) over all ranks.

        A table whose counts are all 0 keeps its statistics.
        """
        seen = counts.sum(-1, keepdim=True, dtype=tables[0].usage.dtype)
        anything, decay = seen.clamp(max=1), tables[0].usage_decay
        scale = (1 - decay) * counts.shape[-1]
        with as_one(tables, "usage", "unused_steps") as (usage, unused_steps):
            usage.mul_(decay**anything).add_(counts / seen.clamp(min=1), alpha=scale)
            # whole numbers where weights of version 0.1 were assigned
            unused_steps.add_(anything.to(unused_steps.dtype)).mul_(counts == 0)

    def _end_step(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Replace dead codes if it is time to, drop the statistics and count the step."""
        # a graph for all steps holds a replacement that acts on every tenth replay
        if self._replaces and (is_for_all_steps() or self.step % REPLACE_EVERY == 0):
            self._replace_dead_codes(optimizer)
        self._clear_statistics()
        self._steps.advance()

    @property
    def phase(self) -> tuple[bool]:
        """See ``Quantizer.phase``: whether the next step replaces dead codes."""
        return (self._replaces and self.step % REPLACE_EVERY == 0,)

    @property
    def _replaces(self) -> bool:
        return self.dead_code_threshold > 0 or not self.by_usage

    def _replace_dead_codes(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Replace dead codes with latents of recent batches, the same on every rank."""
        latents, mask = self._pooled()
        rows, total = sample_rows(latents, mask, self.codebook_size, self._key(0))
        rows = blurred(rows, self._key(1), self.dead_code_noise)
        if self.by_usage:
            dead = self.usage < self.dead_code_threshold
        else:
            dead = self.unused_steps >= self.dead_code_patience
        dead = dead & (total > 0)
        if is_capturing():
            dead = dead & (self._steps.on_device() % REPLACE_EVERY == 0)
        self.renew(dead, self.manifold.expmap0(rows), optimizer)
        self._reset_usage(dead)
        self.replaced.add_(dead.sum())

    def _pooled(self) -> tuple[Tensor, Tensor]:
        """All latents (N, D) of the pool and their masks (N,)."""
        if not self._pool:
            return self.usage.new_zeros(0, self.dim), self.usage.new_zeros(0, dtype=torch.bool)
        latents, masks = zip(*self._pool, strict=True)
        return torch.cat(latents), torch.cat(masks)

    def _reset_usage(self, rows: Tensor) -> None:
        """Let the codes where ``rows`` (K,) is True count as used on average."""
        self.usage.masked_fill_(rows, 1.0)
        self.unused_steps.masked_fill_(rows, 0)

    def replaced_codes(self) -> Tensor:
        """See ``Quantizer.replaced_codes``."""
        return self.replaced

    # -- draws ---------------------------------------------------------------

    @property
    def step(self) -> int:
        """Updates so far; where they are replayed in a CUDA graph, reading it waits for it."""
        return self._steps.value

    def _key(self, purpose: int) -> counter_rng.Key:
        """Key of this step's draws for one purpose, see ``counter_rng``."""
        if is_capturing():
            return counter_rng.key_on_device(self.seed, self._steps.on_device(), purpose)
        return counter_rng.key_of(self.seed, self.step, purpose)

    # -- state ---------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Seed and step of the draws, as a tensor that safetensors can hold."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` returned."""
        self.seed, self._steps.value = (int(value) for value in state[:2])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As ``nn.Module`` does, but the statistics never become half precision."""
        names = {*UsageTracking.statistics, *self.statistics}
        before = {name: getattr(self, name) for name in names}
        super()._apply(fn, recurse)
        for name, value in before.items():
            moved = getattr(self, name)
            if moved.dtype.itemsize < 4:
                setattr(self, name, value.to(device=moved.device))
        return self
