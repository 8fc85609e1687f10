"""Residual quantization (SoundStream, Zeghidour et al. 2021, arXiv:2107.03312)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vq_grouped.inner import InnerQuantizers
from vqcore.distributed import from_first_rank
from vqcore.interfaces.quantizer import Quantized, Quantizer, merge_losses
from vqcore.numerics import counter_rng


class Residual(InnerQuantizers):
    """Stages, each on the residual of the previous one: r_1 = z, r_(i+1) = r_i - sg q_i.

    z_q = q_1 + (q_2 + (... + q_Q)). With ``residuals="tangent"`` + and - are those of the tangent
    space at the origin. With ``"manifold"`` they are the manifold's translations of points (Moebius
    addition in the Poincare ball): r_(i+1) = (-q_i) (+) r_i, and the sum q_1 (+) (q_2 (+) ...) is
    nested from the right, the one order that recovers z from a residual of zero (arXiv:2609.26342).
    On flat space both are the same. Groups are translated each in its own factor. Implicit codes
    exist in the tangent space only, and so do their residuals.

    The estimator acts once, around all stages: with straight-through, d(sum out)/dz is 1 for any
    number of them. Indices have the stage as their last axis, before the inner quantizer's own; a
    stage dropped in training (quantizer dropout, SoundStream, section III-C) has index -1.
    Options: see ``ResidualConfig``.

    Cost: Q times the inner quantizer's, one stage after the other.
    """

    in_use: Tensor  #: Number of stages in use in the current training step.

    def __init__(
        self,
        *,
        inner: Callable[..., Quantizer],
        stages: int = 4,
        shared: bool = False,
        residuals: str = "tangent",
        stage_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(inner, stages, shared, **options)
        self.stages = stages
        self.stage_dropout = stage_dropout
        self.on_manifold = residuals == "manifold" and self.first.codebook is not None
        self.seed = int(torch.randint(2**31, (), device="cpu"))
        self.step = 0
        self.register_buffer("in_use", torch.tensor(float(stages)))
        self._draw()

    def tangent(self, z: Tensor) -> Tensor:
        """See ``Quantizer.tangent``: the inner quantizer's."""
        return self.first.tangent(z)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``. The losses are means over the stages."""
        residual = z
        parts: list[Quantized] = []
        codes: list[Tensor] = []
        for stage, inner, scale in self._scaled():
            parts.append(inner(residual / scale, self._stage_mask(stage, z, mask)))
            codes.append(parts[-1].z_q * scale)
            residual = self._subtract(residual, codes[-1].detach())
        return Quantized(
            self._sum(codes),
            torch.stack([part.indices for part in parts], z.ndim - 1),
            self._merge([part.losses for part in parts]),
            tuple(assignment for part in parts for assignment in part.assignments),
        )

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        residual = z
        indices: list[Tensor] = []
        for _, inner, scale in self._scaled():
            indices.append(inner.encode(residual / scale))
            residual = self._subtract(residual, inner.decode(indices[-1]) * scale)
        return torch.stack(indices, z.ndim - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``. Stages with index -1 add nothing."""
        axis = indices.ndim - len(self.index_shape)
        each = self._scaled()
        return self._sum(
            [inner.decode(indices.select(axis, i)) * scale for i, inner, scale in each]
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        axis = indices.ndim - len(self.index_shape)
        each = self._scaled()
        codes = [inner.lookup(indices.select(axis, i)) * scale for i, inner, scale in each]
        return torch.stack(codes, axis)

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        return self._sum([inner.join(parts, shape) * scale for _, inner, scale in self._scaled()])

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """See ``Quantizer.update``; draws how many stages the next step uses."""
        super().update(optimizer)
        self.step += 1
        self._draw()
        if self.stage_dropout > 0:
            from_first_rank(self.in_use)

    def residual_scale(self) -> float:
        """See ``Quantizer.residual_scale``: what all stages leave."""
        return self.first.residual_scale() ** self.stages

    def _scaled(self) -> list[tuple[int, Quantizer, float]]:
        """The number and the quantizer of each stage, and the scale of its residual."""
        scale = self.first.residual_scale()
        return [(stage, inner, scale**stage) for stage, inner in self.numbered()]

    def _merge(self, losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The mean of each loss over the stages in use; those of dropped stages are 0."""
        merged = merge_losses(losses)
        if self.stage_dropout == 0 or not self.training:
            return merged
        in_use = self.in_use.float().ceil()  # an average of weights may lie between two numbers
        return {name: loss * (self.stages / in_use) for name, loss in merged.items()}

    def _stage_mask(self, stage: int, z: Tensor, mask: Tensor | None) -> Tensor | None:
        """The tokens that count for a stage: none if this training step drops the stage."""
        if self.stage_dropout == 0 or not self.training:
            return mask
        present = (self.in_use > stage).expand(z.shape[:-1])
        return present if mask is None else mask & present

    def _draw(self) -> None:
        if self.stage_dropout > 0:
            key = counter_rng.key_of(self.seed, self.step)
            chance, place = counter_rng.uniform(key, 2).tolist()
            drops = chance < self.stage_dropout and self.stages > 1
            self.in_use.fill_(1 + int(place * (self.stages - 1)) if drops else self.stages)

    def _subtract(self, residual: Tensor, code: Tensor) -> Tensor:
        if not self.on_manifold:
            return residual - code
        space = self.manifold
        point, origin = space.expmap0(self._split(residual)), space.expmap0(-self._split(code))
        return space.logmap0(space.translate(origin, point)).flatten(-2)

    def _sum(self, codes: list[Tensor]) -> Tensor:
        if not self.on_manifold:
            return sum(codes, torch.zeros_like(codes[0]))
        space = self.manifold
        *first, total = (space.expmap0(self._split(code)) for code in codes)
        for code in reversed(first):
            total = space.translate(code, total)
        return space.logmap0(total).flatten(-2)

    def _split(self, u: Tensor) -> Tensor:
        """Tangent vectors (..., D) as those of each factor (..., F, D/F)."""
        return u.unflatten(-1, (self.factors, -1))

    def get_extra_state(self) -> Tensor:
        """Seed and step of the draws, as a tensor that safetensors can store."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` returned."""
        self.seed, self.step = (int(value) for value in state)
