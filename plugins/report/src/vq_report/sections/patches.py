"""What the most used codes stand for: image patches that chose each code, and its decoding."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from vq.data.pixels import to_pixels
from vq_report.encoded_split import CodebookStats, EncodedSplit
from vq_report.reported_run import ReportedRun, Unavailable
from vq_report.sections.usage import capitalize, encoded_codes
from vqcore.plugin.report_section import Block, Gallery, Image, Text

#: Examples of a code.
EXAMPLES = 6
#: Sides in pixels of a code's two large images and of its examples, and the gap between them.
LARGE, SMALL, GAP = 66, 20, 2
LEAD = (
    "For each code: an image decoded from that code alone at every position (left), the mean of "
    "the held-out patches that chose it (right), and some of these patches (below). A patch is the "
    "part of the image that a token's position covers."
)


def blocks(run: ReportedRun) -> list[Block]:
    """A gallery of each codebook."""
    encoded = encoded_codes(run)
    if encoded.inputs.ndim != 4 or encoded.inputs.shape[1] not in (1, 3):
        raise Unavailable("The samples are not images, so codes have no patches to show.")
    shown = encoded.first(run.max_codebooks)
    return [_gallery(run, encoded, prefix, stats) for prefix, stats in shown]


def _gallery(run: ReportedRun, encoded: EncodedSplit, prefix: str, stats: CodebookStats) -> Block:
    shapes = run.trained.model.latent_shapes
    covered = cut(encoded.inputs, shapes[_level(encoded, stats, len(shapes))])
    title = capitalize(f"{prefix}the most used codes")
    if covered is None:
        return Text(f"{title}: its tokens have no position in the image.")
    tokens = stats.indices.flatten()
    # groups that share the codebook see the same patch
    groups = tokens.numel() // (covered.shape[0] * covered.shape[1])
    covered = covered.flatten(0, 1).repeat_interleave(groups, 0)
    used = torch.bincount(tokens[tokens >= 0], minlength=len(stats.counts))
    order = used.argsort(descending=True, stable=True)[: run.max_codes].tolist()
    codes = [code for code in order if used[code]]
    decoded = decode_alone(run, encoded, stats, codes)
    total = max(int(stats.counts.sum()), 1)
    items = []
    for number, code in enumerate(codes):
        chosen = covered[tokens == code]
        large = [chosen.mean(0)] if decoded is None else [decoded[number], chosen.mean(0)]
        card = _card(large, chosen, run.trained.samples.value_range)
        alt = f"code {code}: decoded, mean patch, and examples"
        share = 100 * int(stats.counts[code]) / total
        items.append((f"code {code}, {share:.2g} %", Image("", card, alt, pixels=True)))
    return Gallery(title, items)


def _level(encoded: EncodedSplit, stats: CodebookStats, levels: int) -> int:
    return stats.number // (len(encoded.codebooks) // levels)


def cut(images: Tensor, positions: tuple[int, ...]) -> Tensor | None:
    """The patches (S, T, C, h, w) of images (S, C, H, W) at each of a grid of positions.

    None if the positions are not a grid that divides the image.
    """
    if math.prod(positions) == 1:
        return images.unsqueeze(1)
    height, width = images.shape[-2:]
    if len(positions) != 2 or height % positions[0] or width % positions[1]:
        return None
    h, w = height // positions[0], width // positions[1]
    grid = images.unfold(2, h, h).unfold(3, w, w)  # (S, C, rows, columns, h, w)
    return grid.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


@torch.no_grad()
def decode_alone(
    run: ReportedRun, encoded: EncodedSplit, stats: CodebookStats, codes: Sequence[int]
) -> Tensor | None:
    """Images (N, C, H, W) of one code at every position of its level, and nothing elsewhere.

    None for an implicit codebook that is one of several parts of an index, and for a classifier.
    """
    model = run.trained.model
    if model.classifies:
        return None
    sizes = [math.prod(shape) for shape in model.latent_shapes]
    level, per_level = _level(encoded, stats, len(sizes)), len(encoded.codebooks) // len(sizes)
    parts = math.prod(model.index_shape) // sum(sizes)
    if per_level not in (1, parts):
        return None
    indices = torch.full((len(codes), sum(sizes), parts), -1)
    start = sum(sizes[:level])
    positions = indices[:, start : start + sizes[level]]
    if per_level > 1:
        part = stats.number % per_level
        positions = positions[..., part : part + 1]
    positions[:] = torch.tensor(codes).view(-1, 1, 1)
    return model.decode(indices.view(-1, *model.index_shape).to(run.trained.device)).cpu()


def _card(large: Sequence[Tensor], patches: Tensor, value_range: tuple[float, float]) -> bytes:
    """One code as a PNG: large images above a row of example patches, all square."""
    examples = patches[torch.linspace(0, len(patches) - 1, min(EXAMPLES, len(patches))).long()]
    canvas = PIL.Image.new("RGBA", (2 * LARGE + GAP, LARGE + GAP + SMALL))
    for number, image in enumerate(large):
        canvas.paste(_square(image, LARGE, value_range), (number * (LARGE + GAP), 0))
    for number, image in enumerate(examples):
        canvas.paste(_square(image, SMALL, value_range), (number * (SMALL + GAP), LARGE + GAP))
    buffer = io.BytesIO()
    method = PIL.Image.Quantize.FASTOCTREE
    canvas.quantize(64, method=method).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _square(image: Tensor, side: int, value_range: tuple[float, float]) -> PIL.Image.Image:
    """An image (C, h, w) as a square: small ones enlarged with hard edges, large ones averaged."""
    size = (side, side)
    if max(image.shape[-2:]) < side:
        scaled = F.interpolate(image.unsqueeze(0), size, mode="nearest")
    else:
        scaled = F.interpolate(image.unsqueeze(0), size, mode="bilinear", antialias=True)
    pixels = np.ascontiguousarray(to_pixels(scaled, value_range)[0])
    return PIL.Image.fromarray(pixels).convert("RGBA")
