"""What a trained model makes of held-out samples: codebooks, their usage, and latents."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vq.models.autoencoder import VQModel
from vq.models.bottlenecks.hierarchical import HierarchicalBottleneck
from vq.models.eval_mode import eval_mode
from vqcore.interfaces.dataset import Split
from vqcore.interfaces.manifold import Manifold
from vqcore.interfaces.quantizer import CodeAssignment, Quantized

#: Held-out samples whose codes are counted, at most.
COUNTED = 4096
#: Values of the samples that are kept to be shown, and how many of them, at most.
KEPT_VALUES, KEPT = 2**23, 512
#: Latents shown of each codebook, at most.
LATENTS = 1500


@dataclass(frozen=True)
class CodebookStats:
    """One codebook and its tokens, on the CPU.

    Attributes:
        number: its number in the order of ``Quantized.assignments``, from 0.
        codes: tangent vectors (K, d); of an implicit codebook, NaN for codes that are not used.
        counts: how often each code is used, (K,).
        latents: tangent vectors (N, d) of some tokens.
        indices: (S, T), the code of every token of the samples that are kept; -1 for a bad token.
    """

    number: int
    codes: Tensor
    counts: Tensor
    latents: Tensor
    indices: Tensor


@dataclass(frozen=True)
class EncodedSplit:
    """A held-out split, encoded.

    Attributes:
        inputs: the samples (S, *shape) that are kept.
        samples: how many samples are counted.
        codebooks: empty for a model without codes.
        latents: tangent vectors (N, D) of such a model; none for a model with codes.
    """

    inputs: Tensor
    samples: int
    codebooks: tuple[CodebookStats, ...]
    latents: Tensor

    def first(self, most: int) -> list[tuple[str, CodebookStats]]:
        """The first codebooks, each with a prefix for titles, empty if there is only one."""
        total = len(self.codebooks)
        prefix = "codebook {} of {}: " if total > 1 else ""
        return [(prefix.format(s.number + 1, total), s) for s in self.codebooks[:most]]


def manifold_of(model: VQModel, number: int, codebooks: int) -> Manifold:
    """A frozen copy on the CPU of the manifold of a codebook, by its number from 0.

    Each level of a hierarchical model may learn its own curvature.
    """
    bottleneck = model.bottleneck
    levels: Any = [bottleneck]
    if isinstance(bottleneck, HierarchicalBottleneck):
        levels = bottleneck.levels
    manifold: Manifold = levels[number * len(levels) // codebooks].manifold
    return copy.deepcopy(manifold).cpu().requires_grad_(False)


@torch.no_grad()
def encode_split(
    model: VQModel,
    split: Split,
    device: torch.device,
    *,
    batch_size: int = 256,
    most: int = COUNTED,
    kept: int = KEPT,
) -> EncodedSplit:
    """Encode held-out samples, spread over the split, in eval mode.

    Args:
        model: left in the mode it was in.
        split: the samples.
        device: where the model is.
        batch_size: samples at a time.
        most: samples whose codes are counted, at most.
        kept: samples that are kept to be shown, at most.
    """
    counted = torch.linspace(0, len(split) - 1, min(most, len(split))).long()
    shown = counted[:: math.ceil(len(counted) / kept)]
    rest = counted[~torch.isin(counted, shown)][: None if model.has_codes else 0]
    batches = [batch for part in (shown, rest) for batch in part.split(batch_size) if len(batch)]
    inputs: list[Tensor] = []
    encoded: list[Quantized] = []
    counts: list[Tensor] = []
    with eval_mode(model):
        for batch in split.batches(batches, device):
            quantized = model.bottleneck.inspect(model.latents(batch))
            added = [each.counts for each in quantized.assignments]
            counts = [a + b for a, b in zip(counts, added, strict=True)] if counts else added
            if sum(map(len, inputs)) < len(shown):
                inputs.append(batch.cpu())
                encoded.append(quantized)
    samples = torch.cat(inputs)
    if not counts:
        vectors = torch.cat([each.z_q.flatten(0, -2) for each in encoded])
        return EncodedSplit(samples, len(counted), (), _thin(vectors))
    by_codebook = zip(*(each.assignments for each in encoded), strict=True)
    codebooks = tuple(
        _stats(number, each, counts[number], len(shown), manifold_of(model, number, len(counts)))
        for number, each in enumerate(by_codebook)
    )
    return EncodedSplit(samples, len(counted), codebooks, samples.new_zeros(0, 1))


def _thin(tokens: Tensor) -> Tensor:
    """An even choice of at most ``LATENTS`` tokens, on the CPU."""
    return tokens[:: math.ceil(max(len(tokens), 1) / LATENTS)].cpu()


def _stats(
    number: int,
    assignments: Sequence[CodeAssignment],
    counts: Tensor,
    samples: int,
    manifold: Manifold,
) -> CodebookStats:
    latents = torch.cat([each.z[each.mask] for each in assignments])
    indices = torch.cat([each.indices.flatten() for each in assignments]).view(samples, -1)
    if assignments[0].codebook is not None:
        codes = manifold.logmap0(assignments[0].codebook.cpu())
    else:
        used = torch.cat([each.z_q[each.mask] for each in assignments])
        chosen = torch.cat([each.indices[each.mask] for each in assignments])
        codes = torch.full((len(counts), used.shape[1]), torch.nan).to(used)
        codes = codes.index_copy(0, chosen, used)
    codes, counts, indices = codes.detach().cpu(), counts.cpu(), indices.cpu()
    return CodebookStats(number, codes, counts, _thin(latents), indices)
