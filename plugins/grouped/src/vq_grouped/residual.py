"""Residual quantization (SoundStream, Zeghidour et al. 2021, arXiv:2107.03312)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from vq_grouped.equal_tables import EqualTables
from vq_grouped.inner import InnerQuantizers
from vqcore.distributed import from_first_rank
from vqcore.interfaces.quantizer import Quantized, Quantizer, merge_losses
from vqcore.numerics import counter_rng
from vqcore.numerics.execution import is_capturing
from vqcore.numerics.step_counter import StepCounter

#: Numbers in the latents up to which a CPU computes all stages together: 256 KB in float32.
TOGETHER = 2**16


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
        self._steps = StepCounter()
        self.register_buffer("in_use", torch.tensor(float(stages)))
        self._draw()

    def tangent(self, z: Tensor) -> Tensor:
        """See ``Quantizer.tangent``: the inner quantizer's."""
        return self.first.tangent(z)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See ``Quantizer.forward``. The losses are means over the stages."""
        tables = self.as_one()
        if tables is not None:
            return self._forward_as_one(tables, z, mask)
        parts: list[Quantized] = []
        codes: list[Tensor] = []
        residual = z
        masks = self._stage_masks(z, mask).unbind()
        for (inner, scale), kept in zip(self._scaled(), masks, strict=True):
            if codes:
                residual = self._subtract(residual, codes[-1].detach())
            parts.append(inner(_over(residual, scale), kept))
            codes.append(_times(parts[-1].z_q, scale))
        return Quantized(
            self._sum(codes),
            torch.stack([part.indices for part in parts], z.ndim - 1),
            self._merge([part.losses for part in parts]),
            tuple(assignment for part in parts for assignment in part.assignments),
        )

    def _forward_as_one(self, tables: EqualTables, z: Tensor, mask: Tensor | None) -> Quantized:
        """``forward`` of stages that differ in their codes alone."""
        together = [tables] if _fits_in_cache(z) else tables.one_by_one()
        masks = self._stage_masks(z, mask).flatten(1).unflatten(0, (len(together), -1))
        residual = z.reshape(-1, self.dim)
        parts: list[Quantized] = []
        for part, kept in zip(together, masks, strict=True):
            if parts:
                residual = self._subtract(residual, parts[-1].z_q[0].detach())
            residuals, points, found = self._search(part, residual)
            tokens = self._tokens(residuals, points)
            parts.append(part.quantized(*tokens, torch.stack(found), kept, axis=0))
        z_q = self._sum([code for part in parts for code in part.z_q.unbind()])
        return Quantized(
            z_q.view(z.shape),
            torch.cat([part.indices for part in parts]).T.reshape(*z.shape[:-1], self.stages),
            parts[0].losses if len(parts) == 1 else self._merge([part.losses for part in parts]),
            tuple(assignment for part in parts for assignment in part.assignments),
        )

    def _search(
        self, tables: EqualTables, z: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """What stages quantize if the first one gets z (N, D), and the codes (N,) they choose.

        They are residuals (N, D), after the first only in the tangent space, and points (N, A).
        """
        space = self.manifold
        residuals, points, found = [z], [space.expmap0(z)], []
        found.append(tables.nearest(0, points[0]))
        for stage in range(1, tables.slots):
            code = tables.codes_of(stage - 1, found[-1])
            if self.on_manifold:
                points.append(space.translate(space.expmap0(-code), points[-1]))
            else:
                residuals.append(residuals[-1] - code)
                points.append(space.expmap0(residuals[-1].detach()))
            found.append(tables.nearest(stage, points[-1]))
        return residuals, points, found

    def _tokens(self, residuals: list[Tensor], points: list[Tensor]) -> tuple[Tensor, Tensor]:
        """All stages' tangent vectors (S, N, D) and points (S, N, A), with gradient."""
        if len(points) == 1:
            return residuals[0].unsqueeze(0), points[0].unsqueeze(0)
        if self.on_manifold:
            whole = torch.stack(points)
            return self.manifold.logmap0(whole), whole
        whole = torch.stack(residuals)
        return whole, self.manifold.expmap0(whole)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See ``Quantizer.encode``."""
        tables = self.as_one()
        if tables is not None:
            found = self._search(tables, z.reshape(-1, self.dim))[-1]
            return torch.stack(found, 1).view(*z.shape[:-1], self.stages)
        indices: list[Tensor] = []
        codes: list[Tensor] = []
        residual = z
        for inner, scale in self._scaled():
            if codes:
                residual = self._subtract(residual, codes[-1])
            indices.append(inner.encode(_over(residual, scale)))
            codes.append(_times(inner.decode(indices[-1]), scale))
        return torch.stack(indices, z.ndim - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.decode``. Stages with index -1 add nothing."""
        tables = self.as_one()
        if tables is not None:
            return self._sum(tables.lookup(indices).unbind(-2))
        each = zip(self._scaled(), self._by_stage(indices), strict=True)
        return self._sum([_times(inner.decode(own), scale) for (inner, scale), own in each])

    def lookup(self, indices: Tensor) -> Tensor:
        """See ``Quantizer.lookup``."""
        tables = self.as_one()
        if tables is not None:
            return tables.lookup(indices)
        each = zip(self._scaled(), self._by_stage(indices), strict=True)
        codes = [_times(inner.lookup(own), scale) for (inner, scale), own in each]
        return torch.stack(codes, indices.ndim - len(self.index_shape))

    def _by_stage(self, indices: Tensor) -> tuple[Tensor, ...]:
        return indices.unbind(indices.ndim - len(self.index_shape))

    def join(self, parts: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
        """See ``Quantizer.join``."""
        each = self._scaled()
        return self._sum([_times(inner.join(parts, shape), scale) for inner, scale in each])

    @property
    def step(self) -> int:
        """Updates so far; where they are replayed in a CUDA graph, reading it waits for it."""
        return self._steps.value

    def residual_scale(self) -> float:
        """See ``Quantizer.residual_scale``: what all stages leave."""
        return self.first.residual_scale() ** self.stages

    def _scaled(self) -> list[tuple[Quantizer, float]]:
        """The quantizer of each stage, and the scale of its residual."""
        scale = self.first.residual_scale()
        return [(inner, scale**stage) for stage, inner in self.numbered()]

    def _merge(self, losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The mean of each loss over the stages in use; those of dropped stages are 0."""
        merged = merge_losses(losses)
        if self.stage_dropout == 0 or not self.training:
            return merged
        in_use = self.in_use.float().ceil()  # an average of weights may lie between two numbers
        return {name: loss * (self.stages / in_use) for name, loss in merged.items()}

    def _stage_masks(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """The tokens (S, ...) that count for each stage: none if this training step drops it."""
        kept = z.new_ones(z.shape[:-1], dtype=torch.bool) if mask is None else mask
        if self.stage_dropout == 0 or not self.training:
            return kept.expand(self.stages, *kept.shape)
        present = self.in_use > torch.arange(self.stages, device=z.device)
        return kept & present.view(-1, *[1] * kept.ndim)

    @torch.no_grad()
    def draw(self) -> None:
        """See ``InnerQuantizers.draw``: how many stages are in use."""
        self._steps.advance()
        self._draw()
        if self.stage_dropout > 0:
            from_first_rank(self.in_use)

    def _draw(self) -> None:
        """On the device in a CUDA graph, else on the host."""
        if self.stage_dropout == 0:
            return
        if is_capturing():
            on_device = counter_rng.key_on_device(self.seed, self._steps.on_device())
            chance, place = counter_rng.uniform(on_device, 2, device=self.in_use.device)
            some = 1 + (place * (self.stages - 1)).floor()
            self.in_use.copy_(torch.where(chance < self.stage_dropout, some, self.stages))
        else:
            key = counter_rng.key_of(self.seed, self.step)
            drawn = counter_rng.uniform(key, 2, device=torch.device("cpu")).tolist()
            kept = 1 + int(drawn[1] * (self.stages - 1))
            self.in_use.fill_(kept if drawn[0] < self.stage_dropout else self.stages)

    def _subtract(self, residual: Tensor, code: Tensor) -> Tensor:
        if not self.on_manifold:
            return residual - code
        space = self.manifold
        point, origin = space.expmap0(self._split(residual)), space.expmap0(-self._split(code))
        return space.logmap0(space.translate(origin, point)).flatten(-2)

    def _sum(self, codes: Sequence[Tensor]) -> Tensor:
        if not self.on_manifold:
            return reduce(torch.add, codes)
        space = self.manifold
        *first, total = space.expmap0(self._split(torch.stack(list(codes)))).unbind()
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
        self.seed, self._steps.value = (int(value) for value in state)


def _fits_in_cache(z: Tensor) -> bool:
    """Whether all stages are computed together: on a CPU, only if each leaves room for others."""
    return z.device.type != "cpu" or torch.compiler.is_compiling() or z.numel() <= TOGETHER


def _times(x: Tensor, scale: float) -> Tensor:
    return x if scale == 1 else x * scale


def _over(x: Tensor, scale: float) -> Tensor:
    return x if scale == 1 else x / scale
