"""Several levels of latents, each with a bottleneck of its own (VQ-VAE-2, Razavi et al. 2019, arXiv:1906.00446)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vq.models.bottlenecks.continuous import no_codes
from vq.models.empty_batches import of_any_batch
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.output import Output
from vqcore.interfaces.quantizer import Quantized

#: From a level's number, its features and the vectors of all coarser levels to its latents.
Refine = Callable[[int, Tensor, Sequence[Tensor]], Tensor]
Decode = Callable[[Sequence[Tensor]], Tensor]


class HierarchicalBottleneck(nn.Module):
    """One bottleneck a level, coarsest first, called as one: what it takes and gives is a tuple with a tensor a level.

    A finer level's latents are made (``refine``) of its features and of the vectors that the coarser bottlenecks gave.
    All levels' indices are one sequence (B, T), groups or stages last. Losses keep their level in their name, as in
    ``level1_commitment``, and are summed.

    Args:
        levels: one bottleneck each; the first is the coarsest.
        shapes: each level's positions.
        refine: the backbone's.
    """

    def __init__(
        self, levels: Iterable[nn.Module], shapes: Sequence[tuple[int, ...]], refine: Refine
    ) -> None:
        super().__init__()
        self.levels, self.refine = nn.ModuleList(levels), refine
        self.shapes = tuple(tuple(shape) for shape in shapes)
        self.codebook_size: int = self.levels[0].codebook_size
        self.channel_first: bool = self.levels[0].channel_first

    @property
    def manifold(self) -> Manifold:
        """The space of the latents; each level has one of this kind, the coarsest level's is given."""
        return self.levels[0].manifold

    @property
    def codebook(self) -> tuple[Tensor | None, ...]:
        """Each level's codebook."""
        return tuple(level.codebook for level in self.levels)

    def forward(
        self,
        features: Sequence[Tensor],
        *,
        inputs: Tensor | None = None,
        decode: Decode | None = None,
    ) -> Output:
        """The levels' outputs as one; the finest level's regularizers see the decoder."""
        codes, outs = [], []
        for number, level, latents in self._climb(features, codes):
            last = number == len(self.levels) - 1
            whole = _finished(decode, tuple(codes)) if last and decode is not None else None
            outs.append(level(latents, inputs=inputs, decode=whole))
            codes.append(outs[-1].quantized)
        return self._joined(outs)

    @torch.no_grad()
    def encode(self, features: Sequence[Tensor]) -> Tensor:
        """Indices (B, T), groups or stages last: coarsest level first, each level row by row."""
        codes, found = [], []
        for _, level, latents in self._climb(features, codes):
            found.append(level.encode(latents))
            codes.append(level.decode(found[-1]))
        return self._sequence(found)

    def decode(self, indices: Tensor) -> tuple[Tensor, ...]:
        """What the levels give for indices (B, T), groups or stages last.

        Raises:
            SettingError: if T does not fit, an index is out of range, or there are no codes.
        """
        if self.codebook_size == 0:
            raise no_codes(self.levels[0].name)
        lengths = [math.prod(shape) for shape in self.shapes]
        if indices.ndim < 2 or indices.shape[1] != sum(lengths):
            raise SettingError(
                "indices", tuple(indices.shape), f"(B, {sum(lengths)}), all levels' tokens in a row"
            )
        parts = indices.split(lengths, 1)
        pairs = zip(self.levels, self.shapes, parts, strict=True)
        return tuple(level.decode(part.unflatten(1, shape)) for level, shape, part in pairs)

    @torch.no_grad()
    def inspect(self, features: Sequence[Tensor]) -> Quantized:
        """Every level's codebooks with their tokens, as in eval; ``z_q`` and indices are the sequence of all levels."""
        was_training = self.training
        self.eval()
        codes, found = [], []
        for _, level, latents in self._climb(features, codes):
            found.append(level.inspect(latents))
            codes.append(level(latents).quantized)
        self.train(was_training)
        z_q = torch.cat([each.z_q.flatten(1, -2) for each in found], 1)
        assignments = tuple(use for each in found for use in each.assignments)
        return Quantized(z_q, self._sequence([each.indices for each in found]), {}, assignments)

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Each level's update, after the optimizer's step."""
        for level in self.levels:
            level.update(optimizer)

    def _climb(
        self, features: Sequence[Tensor], codes: list[Tensor]
    ) -> Iterator[tuple[int, nn.Module, Tensor]]:
        """Level after level with its latents; the caller adds each one's vectors to ``codes`` before the next."""
        for number, (level, seen) in enumerate(zip(self.levels, features, strict=True)):
            yield number, level, of_any_batch(self.refine)(number, seen, tuple(codes))

    def _joined(self, outs: Sequence[Output]) -> Output:
        """The outputs of all levels as one: counts, errors and sizes stacked, figures over all codebooks or tokens."""
        return Output(
            quantized=tuple(out.quantized for out in outs),
            indices=self._sequence([out.indices for out in outs]),
            loss=torch.stack([out.loss for out in outs]).sum(),
            losses={
                f"level{n}_{name}": value
                for n, out in enumerate(outs, 1)
                for name, value in out.losses.items()
            },
            metrics=_metrics(outs),
            counts=torch.cat([out.counts for out in outs]),
            errors=torch.cat([out.errors for out in outs]),
            sizes=torch.cat([out.sizes for out in outs]),
            reconstruction=outs[-1].reconstruction,
        )

    def _sequence(self, indices: Sequence[Tensor]) -> Tensor:
        """The levels' indices (B, *positions, ...) as one sequence (B, T, ...); (B, 0) where there are no codes."""
        if self.codebook_size == 0:
            return indices[0]
        lengths = [len(shape) for shape in self.shapes]
        return torch.cat([each.flatten(1, n) for each, n in zip(indices, lengths, strict=True)], 1)


def _metrics(outs: Sequence[Output]) -> dict[str, Tensor]:
    """Means over levels, which have as many codebooks each; errors weighted by tokens; numbers of events summed."""
    if not outs[0].metrics:
        return {}
    named = {name: torch.stack([out.metrics[name] for out in outs]) for name in outs[0].metrics}
    tokens = torch.stack([out.counts[0].sum() for out in outs]).to(
        named["quantization_error"].dtype
    )
    share = tokens / tokens.sum().clamp(min=1)
    return {
        "perplexity": named["perplexity"].mean(),
        "codes_used": named["codes_used"].mean(),
        "quantization_error": (named["quantization_error"] * share).sum(),
        "bad_tokens": named["bad_tokens"].sum(),
        "replaced_codes": named["replaced_codes"].sum(),
    }


def _finished(decode: Decode, coarser: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
    """The decoder as a function of the finest level's vectors."""
    return lambda finest: decode((*coarser, finest))
