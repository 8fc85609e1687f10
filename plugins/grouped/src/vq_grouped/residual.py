"""Residual quantization: each stage quantizes what the ones before it left (SoundStream, arXiv:2107.03312)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vqcore.distributed import from_first_rank
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import Quantized, Quantizer, merge_losses
from vqcore.numerics import counter_rng


class Residual(Quantizer):
    """Stages, each on the rest of the one before: r_1 = z, r_(i+1) = r_i - sg q_i, z_q = q_1 + (q_2 + (... + q_Q)).

    With ``residuals="tangent"`` + and - are those of the tangent space at the origin. With ``"manifold"`` they are the
    manifold's translations of points (Moebius addition in the Poincare ball): r_(i+1) = (-q_i) (+) r_i, and the sum
    q_1 (+) (q_2 (+) ...) nested from the right, the one order that gives z back when nothing is left over
    (arXiv:2609.26342). On flat space both are the same.

    Groups are translated each in its own factor. Implicit codes lie in the tangent space alone,
    as their residuals then do.

    No stage passes its gradient through another: the estimator around the whole decides it once, so that with
    straight-through d(sum out)/dz is 1 whatever the number of stages. Indices have the stage as their last axis,
    before the inner quantizer's own.

    Cost: Q times the inner quantizer's, one stage after the other.

    Args:
        inner: builds the quantizer of a stage.
        stages: Q.
        shared: one inner quantizer, and so one codebook, serves all stages.
        residuals: ``tangent`` or ``manifold``, see above.
        stage_dropout: share of training steps that use a random number of the first stages only, 1 to Q-1, all
            numbers alike (quantizer dropout, SoundStream section III-C). A dropped stage has index -1.
    """

    def __init__(
        self,
        *,
        dim: int,
        codebook_size: int,
        manifold: Manifold,
        inner: Callable[..., Quantizer],
        stages: int = 4,
        shared: bool = False,
        residuals: str = "tangent",
        stage_dropout: float = 0.0,
    ) -> None:
        super().__init__(dim=dim, codebook_size=codebook_size, manifold=manifold)
        self.inner = nn.ModuleList(
            inner(dim=dim, codebook_size=codebook_size, manifold=manifold)
            for _ in range(1 if shared else stages)
        )
        first = self.inner[0]
        self.stages, self.shared, self.stage_dropout = stages, shared, stage_dropout
        self.on_manifold = residuals == "manifold" and first.codebook is not None
        self.dim, self.codebook_size, self.synchronized = (
            first.dim,
            first.codebook_size,
            first.synchronized,
        )
        self.index_shape, self.factors = (stages, *first.index_shape), first.factors
        self.seed, self.step = int(torch.randint(2**31, (), device="cpu")), 0
        #: Number of stages in use in the present training step.
        self.register_buffer("in_use", torch.tensor(stages))
        self._draw()

    def tangent(self, z: Tensor) -> Tensor:
        """See ``Quantizer.tangent``: the inner one's."""
        return self.inner[0].tangent(z)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``. The losses are means over the stages."""
        rest, parts, codes = z, [], []
        for stage, inner, scale in self._each():
            parts.append(inner(rest / scale, self._kept(stage, z, mask)))
            codes.append(parts[-1].z_q * scale)
            rest = self._subtract(rest, codes[-1].detach())
        return Quantized(
            self._sum(codes),
            torch.stack([part.indices for part in parts], z.ndim - 1),
            self._merge([part.losses for part in parts]),
            tuple(use for part in parts for use in part.assignments),
        )

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        rest, found = z, []
        for _, inner, scale in self._each():
            found.append(inner.encode(rest / scale))
            rest = self._subtract(rest, inner.decode(found[-1]) * scale)
        return torch.stack(found, z.ndim - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``. With -1 from some stage on, what the stages before it give."""
        axis = indices.ndim - len(self.index_shape)
        return self._sum(
            [
                inner.decode(indices.select(axis, stage)) * scale
                for stage, inner, scale in self._each()
            ]
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        axis = indices.ndim - len(self.index_shape)
        looked_up = [
            inner.lookup(indices.select(axis, stage)) * scale
            for stage, inner, scale in self._each()
        ]
        return torch.stack(looked_up, axis)

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        return self._sum([inner.join(parts, shape) * scale for _, inner, scale in self._each()])

    @property
    def codebook(self) -> Tensor | None:
        """The inner codebook (K, A) where it is shared, else one for each stage, (Q, K, A)."""
        books = [inner.codebook for inner in self.inner]
        if books[0] is None:
            return None
        return books[0] if self.shared else torch.stack(books)

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``Quantizer.update``; draws how many stages the next step uses."""
        super().update(optimizer)
        self.step += 1
        self._draw()
        if self.stage_dropout > 0:
            from_first_rank(self.in_use)

    # -- stages --------------------------------------------------------------

    def residual_scale(self) -> float:
        """See ``Quantizer.residual_scale``: what all stages leave."""
        return self.inner[0].residual_scale() ** self.stages

    def _each(self) -> list[tuple[int, Quantizer, float]]:
        """Each stage with its quantizer and the scale of its rest."""
        scale = self.inner[0].residual_scale()
        return [
            (stage, self.inner[0 if self.shared else stage], scale**stage)
            for stage in range(self.stages)
        ]

    def _merge(self, losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The mean of each loss over the stages in use; those of dropped ones are 0."""
        merged = merge_losses(losses)
        if self.stage_dropout == 0 or not self.training:
            return merged
        return {name: loss * (self.stages / self.in_use) for name, loss in merged.items()}

    def _kept(self, stage: int, z: Tensor, mask: Tensor | None) -> Tensor | None:
        """The tokens that a stage counts: none of them where training has dropped it."""
        if self.stage_dropout == 0 or not self.training:
            return mask
        present = (self.in_use > stage).expand(z.shape[:-1])
        return present if mask is None else mask & present

    def _draw(self) -> None:
        if self.stage_dropout > 0:
            chance, place = counter_rng.uniform(
                counter_rng.key_of(self.seed, self.step), 2
            ).tolist()
            fewer = 1 + int(place * (self.stages - 1))
            self.in_use.fill_(
                fewer if chance < self.stage_dropout and self.stages > 1 else self.stages
            )

    # -- addition ------------------------------------------------------------

    def _subtract(self, rest: Tensor, code: Tensor) -> Tensor:
        if not self.on_manifold:
            return rest - code
        space, rest, code = self.manifold, self._apart(rest), self._apart(code)
        return space.logmap0(space.translate(space.expmap0(-code), space.expmap0(rest))).flatten(-2)

    def _sum(self, codes: list[Tensor]) -> Tensor:
        if not self.on_manifold:
            return sum(codes)
        space = self.manifold
        *first, total = (space.expmap0(self._apart(code)) for code in codes)
        for code in reversed(first):
            total = space.translate(code, total)
        return space.logmap0(total).flatten(-2)

    def _apart(self, u: Tensor) -> Tensor:
        """Tangent vectors (..., D) as those of each factor (..., F, D/F)."""
        return u.unflatten(-1, (self.factors, -1))

    # -- state ---------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Seed and step of the draws, as a tensor that safetensors can hold."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self.seed, self.step = (int(value) for value in state)
