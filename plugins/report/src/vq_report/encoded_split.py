"""What a trained model makes of held-out samples: its codes, their usage, and the tokens behind each."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck
from vq.runs.trained_run import TrainedRun
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment

#: Held-out samples whose codes are counted, and values of those that are kept to be shown, at most.
COUNTED, KEPT_VALUES, KEPT = 4096, 2**23, 512
#: Latents that are shown of each codebook, at most.
LATENTS = 1500


@dataclass(frozen=True)
class CodebookStats:
    """One codebook and its tokens, everything on the CPU.

    Attributes:
        place: its number in the order of ``Quantized.assignments``, from 0.
        codes: tangent vectors (K, d); of an implicit codebook NaN where a code was not used.
        counts: how often each code was used, (K,).
        latents: tangent vectors (N, d) of some tokens.
        chosen: the codes (N,) of these.
        indices: (S, T), those of every token of the samples that were kept; -1 for a bad token.
    """

    place: int
    codes: Tensor
    counts: Tensor
    latents: Tensor
    chosen: Tensor
    indices: Tensor


@dataclass(frozen=True)
class EncodedSplit:
    """Held-out samples (S, *shape) that were kept, of all ``samples`` that were counted, and the codebooks."""

    inputs: Tensor
    samples: int
    books: tuple[CodebookStats, ...]

    def first(self, most: int) -> list[tuple[str, CodebookStats]]:
        """The first codebooks, each with a prefix for titles that says which it is, empty where there is one."""
        of = len(self.books)
        return [
            (f"codebook {book.place + 1} of {of}: " * (of > 1), book) for book in self.books[:most]
        ]


def space_of(run: TrainedRun, place: int, books: int) -> Manifold:
    """A copy of a codebook's manifold on the CPU that learns nothing: each level's may have learned a curvature.

    Args:
        run: the trained run.
        place: the codebook's number, from 0.
        books: how many there are.
    """
    return copy.deepcopy(_manifold(run, place, books)).cpu().requires_grad_(False)


def _manifold(run: TrainedRun, place: int, books: int) -> Manifold:
    bottleneck = run.model.bottleneck
    levels = bottleneck.levels if isinstance(bottleneck, HierarchicalBottleneck) else [bottleneck]
    return levels[place * len(levels) // books].manifold


@torch.no_grad()
def encode_split(run: TrainedRun) -> EncodedSplit:
    """Encode held-out samples, spread over the split.

    Raises:
        SettingError: if the data set's files are not there.
    """
    split, size = run.source.split("test"), run.config.settings.batch_size
    counted = torch.linspace(0, len(split) - 1, min(COUNTED, len(split))).long()
    most = min(max(KEPT_VALUES // math.prod(run.samples.shape), 16), KEPT)
    shown = counted[:: math.ceil(len(counted) / most)]
    inputs = torch.cat([batch.cpu() for batch in split.batches(shown.split(size), run.device)])
    if not run.model.has_codes:
        return EncodedSplit(inputs, len(counted), ())
    rest = counted[~torch.isin(counted, shown)]
    kept = [_uses(run, batch) for batch in split.batches(shown.split(size), run.device)]
    counts = [sum(use.counts for use in assignments) for assignments in zip(*kept, strict=True)]
    for batch in split.batches(rest.split(size), run.device):
        counts = [count + use.counts for count, use in zip(counts, _uses(run, batch), strict=True)]
    spaces = [_manifold(run, place, len(counts)) for place in range(len(counts))]
    each = enumerate(zip(zip(*kept, strict=True), counts, spaces, strict=True))
    books = tuple(
        _book(place, assignments, count, len(shown), space)
        for place, (assignments, count, space) in each
    )
    return EncodedSplit(inputs, len(counted), books)


def _uses(run: TrainedRun, batch: Tensor) -> tuple[CodeAssignment, ...]:
    return run.model.bottleneck.inspect(run.model.backbone.encode(batch)).assignments


def _book(
    place: int, assignments: Sequence[CodeAssignment], counts: Tensor, samples: int, space: Manifold
) -> CodebookStats:
    names = ("z", "z_q", "indices")
    latents, codes, chosen = (
        torch.cat([getattr(use, name)[use.mask] for use in assignments]) for name in names
    )
    if assignments[0].codebook is not None:
        codes = space.logmap0(assignments[0].codebook)
    else:
        codes = (
            torch.full((len(counts), codes.shape[1]), torch.nan)
            .to(codes)
            .index_copy(0, chosen, codes)
        )
    pace = math.ceil(max(len(latents), 1) / LATENTS)
    indices = torch.cat([use.indices.flatten() for use in assignments]).view(samples, -1)
    return CodebookStats(
        place,
        codes.detach().cpu(),
        counts.cpu(),
        latents[::pace].cpu(),
        chosen[::pace].cpu(),
        indices.cpu(),
    )
