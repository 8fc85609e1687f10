"""Several levels of latents, each with its own bottleneck (VQ-VAE-2, arXiv:1906.00446)."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vq.models.bottlenecks.continuous import ContinuousBottleneck, no_codes
from vq.models.empty_batches import allow_empty_batch
from vq.models.eval_mode import eval_mode
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import Quantized
from vqcore.layer import VectorQuantizer
from vqcore.numerics.indices import Indices, as_indices

LevelBottleneck: TypeAlias = VectorQuantizer | ContinuousBottleneck
#: From a level's number, its features and the vectors of all coarser levels to its latents.
Refine: TypeAlias = Callable[[int, Tensor, Sequence[Tensor]], Tensor]
Decode: TypeAlias = Callable[[Sequence[Tensor]], Tensor]


class HierarchicalBottleneck(nn.Module):
    """One bottleneck per level, called as one; inputs and outputs are one tensor per level.

    Levels run from coarse to fine. The latents of a level are computed by ``refine`` from its
    features and from the output vectors of the coarser levels. The indices of all levels are one
    sequence (B, T), groups or stages last. The names of losses start with the level, as in
    ``level1_commitment``. ``shapes`` are the positions of each level.
    """

    levels: Sequence[LevelBottleneck]

    def __init__(
        self, levels: Iterable[LevelBottleneck], shapes: Sequence[tuple[int, ...]], refine: Refine
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)  # type: ignore[assignment]  # typed as of any module
        self.refine = refine
        self.shapes = tuple(tuple(shape) for shape in shapes)
        self.codebook_size = self.levels[0].codebook_size
        self.channel_first = self.levels[0].channel_first

    @property
    def manifold(self) -> Manifold:
        """The coarsest level's manifold; each level has one of the same kind."""
        return self.levels[0].manifold

    @property
    def codebook(self) -> tuple[Tensor | None, ...] | None:
        """The codebook of each level."""
        return tuple(level.codebook for level in self.levels) if self.codebook_size else None

    def forward(
        self,
        features: Sequence[Tensor],
        *,
        inputs: Tensor | None = None,
        decode: Decode | None = None,
    ) -> Output:
        """The outputs of all levels as one; regularizers of the finest level see the decoder."""
        coarser: list[Tensor] = []
        outputs: list[Output] = []
        for number, level, latents in self._ascend(features, coarser):
            decode_level = None
            if decode is not None and number == len(self.levels) - 1:
                decode_level = partial(_decode_with, decode, tuple(coarser))
            outputs.append(level(latents, inputs=inputs, decode=decode_level))
            coarser.append(outputs[-1].quantized)
        return self._combined(outputs)

    @torch.no_grad()
    def encode(self, features: Sequence[Tensor]) -> Tensor:
        """Indices (B, T), groups or stages last: coarsest level first, each level row by row."""
        coarser: list[Tensor] = []
        indices: list[Tensor] = []
        for _, level, latents in self._ascend(features, coarser):
            indices.append(level.encode(latents))
            coarser.append(level.decode(indices[-1]))
        return self._sequence(indices)

    def decode(self, indices: Indices) -> tuple[Tensor, ...]:
        """The vectors of each level for indices (B, T), groups or stages last.

        Raises:
            SettingError: if T does not fit, an index is no whole number or out of range, or there
                are no codes.
        """
        coarsest = self.levels[0]
        if isinstance(coarsest, ContinuousBottleneck):
            raise no_codes(coarsest.name)
        indices = as_indices(indices, self)
        lengths = [math.prod(shape) for shape in self.shapes]
        if indices.ndim < 2 or indices.shape[1] != sum(lengths):
            expected = f"(B, {sum(lengths)}), the tokens of all levels in sequence"
            raise SettingError("indices", tuple(indices.shape), expected)
        parts = zip(self.levels, self.shapes, indices.split(lengths, 1), strict=True)
        return tuple(level.decode(part.unflatten(1, shape)) for level, shape, part in parts)

    @torch.no_grad()
    def inspect(self, features: Sequence[Tensor]) -> Quantized:
        """All codebooks with their tokens, as in eval mode; ``z_q`` is a sequence like indices."""
        coarser: list[Tensor] = []
        results: list[Quantized] = []
        with eval_mode(self):
            for _, level, latents in self._ascend(features, coarser):
                results.append(level.inspect(latents))
                coarser.append(level(latents).quantized)
        z_q = torch.cat([result.z_q.flatten(1, -2) for result in results], 1)
        indices = self._sequence([result.indices for result in results])
        assignments = (assignment for result in results for assignment in result.assignments)
        return Quantized(z_q, indices, {}, tuple(assignments))

    @property
    def unrecordable(self) -> tuple[str, ...]:
        """See ``VectorQuantizer.unrecordable``."""
        return tuple(name for level in self.levels for name in level.unrecordable)

    @property
    def phase(self) -> Hashable:
        """See ``VectorQuantizer.phase``."""
        return tuple(level.phase for level in self.levels)

    def replayed(self) -> None:
        """See ``VectorQuantizer.replayed``."""
        for level in self.levels:
            level.replayed()

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Update each level, after the optimizer's step."""
        for level in self.levels:
            level.update(optimizer)

    def _ascend(
        self, features: Sequence[Tensor], coarser: list[Tensor]
    ) -> Iterator[tuple[int, LevelBottleneck, Tensor]]:
        """Each level with its latents; the caller appends its vectors to ``coarser`` in between."""
        refine = allow_empty_batch(self.refine)
        for number, (level, own) in enumerate(zip(self.levels, features, strict=True)):
            yield number, level, refine(number, own, tuple(coarser))

    def _combined(self, outputs: Sequence[Output]) -> Output:
        """The outputs of all levels as one."""

        def total(name: str) -> Tensor:
            return torch.stack([getattr(output, name) for output in outputs]).sum()

        losses = {
            f"level{number}_{name}": value
            for number, output in enumerate(outputs, 1)
            for name, value in output.losses.items()
        }
        return Output(
            quantized=tuple(output.quantized for output in outputs),  # type: ignore[arg-type]  # per level
            indices=self._sequence([output.indices for output in outputs]),
            loss=torch.stack([output.loss for output in outputs]).sum(),
            losses=losses,
            counts=torch.cat([output.counts for output in outputs]),
            error_sums=torch.cat([output.error_sums for output in outputs]),
            error_sum=total("error_sum"),
            tokens=total("tokens"),
            bad_tokens=total("bad_tokens"),
            replaced_codes=total("replaced_codes"),
            codebook_sizes=sum((output.codebook_sizes for output in outputs), ()),
            reconstruction=outputs[-1].reconstruction,
        )

    def _sequence(self, indices: Sequence[Tensor]) -> Tensor:
        """The levels' indices (B, *positions, ...) as one sequence (B, T, ...); (B, 0) if none."""
        if self.codebook_size == 0:
            return indices[0]
        pairs = zip(indices, self.shapes, strict=True)
        return torch.cat([each.flatten(1, len(shape)) for each, shape in pairs], 1)


def _decode_with(decode: Decode, coarser: tuple[Tensor, ...], finest: Tensor) -> Tensor:
    return decode((*coarser, finest))
