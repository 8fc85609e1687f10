"""What the most used codes stand for: the blocks of held-out pictures that chose each, and what it decodes to."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vq_report.encoded_split import CodebookStats, EncodedSplit
from vq_report.plots.pixels import to_pixels
from vq_report.reported_run import Absent, ReportedRun, each_run
from vq_report.sections.usage import codes_of
from vqcore.plugin.report_section import Block, Gallery, Picture, Section, Text

#: Examples of a code.
EXAMPLES = 6
#: Sides in pixels of the two large pictures of a code and of its examples, and the space between them.
LARGE, SMALL, GAP = 66, 20, 2
NOTE = (
    "Of each code: a picture decoded from it alone at every position (left), the mean of the held-out blocks that "
    "chose it (right), and some of these (below). A block is the part of the picture that a token's position covers."
)


def patches(runs: Sequence[ReportedRun]) -> Section:
    """A gallery of each codebook."""
    return Section("What the codes stand for", each_run(runs, _galleries), NOTE)


def _galleries(run: ReportedRun) -> list[Block]:
    look = codes_of(run)
    if look.inputs.ndim != 4 or look.inputs.shape[1] not in (1, 3):
        raise Absent("The samples are no pictures, so that a code has no patch to show.")
    return [_gallery(run, look, prefix, book) for prefix, book in look.first(run.books)]


def _gallery(run: ReportedRun, look: EncodedSplit, prefix: str, book: CodebookStats) -> Block:
    blocks = _blocks(look.inputs, _positions(run, look, book))
    title = f"{prefix}the most used codes"
    if blocks is None:
        return Text(
            f"{title[:1].upper()}{title[1:]}: its tokens have no place of their own in the picture."
        )
    tokens = book.indices.flatten()
    each = tokens.numel() // (
        blocks.shape[0] * blocks.shape[1]
    )  # groups that share the codebook see the same block
    blocks = blocks.flatten(0, 1).repeat_interleave(each, 0)
    order = torch.bincount(tokens[tokens >= 0], minlength=len(book.counts)).argsort(
        descending=True, stable=True
    )
    chosen = [code for code in order[: run.codes].tolist() if (tokens == code).any()]
    decoded = _decoded(run, look, book, chosen)
    total = max(int(book.counts.sum()), 1)
    items = []
    for number, code in enumerate(chosen):
        mine = blocks[tokens == code]
        whole = mine.new_zeros(0) if decoded is None else decoded[number]
        card = _card(whole, mine, run.trained.samples.value_range)
        line = f"code {code}, {100 * int(book.counts[code]) / total:.2g} %"
        items.append(
            (
                line,
                Picture("", card, f"code {code}: decoded, mean block, and examples", pixels=True),
            )
        )
    return Gallery(title[:1].upper() + title[1:], items)


def _positions(run: ReportedRun, look: EncodedSplit, book: CodebookStats) -> tuple[int, ...]:
    shapes = run.trained.model.latent_shapes
    return shapes[_level(look, book, len(shapes))]


def _level(look: EncodedSplit, book: CodebookStats, levels: int) -> int:
    return book.place // (len(look.books) // levels)


def _blocks(inputs: Tensor, positions: tuple[int, ...]) -> Tensor | None:
    """The parts (S, T, C, h, w) of pictures (S, C, H, W) below each position; None where positions are no grid."""
    if math.prod(positions) == 1:
        return inputs.unsqueeze(1)
    height, width = inputs.shape[-2:]
    if len(positions) != 2 or height % positions[0] or width % positions[1]:
        return None
    sides = height // positions[0], width // positions[1]
    parts = inputs.unfold(2, sides[0], sides[0]).unfold(
        3, sides[1], sides[1]
    )  # (S, C, rows, columns, h, w)
    return parts.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


@torch.no_grad()
def _decoded(
    run: ReportedRun, look: EncodedSplit, book: CodebookStats, chosen: Sequence[int]
) -> Tensor | None:
    """Pictures (N, C, H, W) of one code at each position of its level, nothing elsewhere; None where it is a part."""
    model = run.trained.model
    sizes = [math.prod(shape) for shape in model.latent_shapes]
    level, beside = _level(look, book, len(sizes)), len(look.books) // len(sizes)
    parts = math.prod(model.index_shape) // sum(sizes)
    if beside not in (1, parts):
        return None
    indices = torch.full((len(chosen), sum(sizes), parts), -1)
    start, part = sum(sizes[:level]), slice(None) if beside == 1 else book.place % beside
    indices[:, start : start + sizes[level], part] = torch.tensor(chosen).view(
        -1, 1, *[1] * (beside == 1)
    )
    return model.decode(indices.view(-1, *model.index_shape).to(run.trained.device)).cpu()


def _card(whole: Tensor, mine: Tensor, value_range: tuple[float, float]) -> bytes:
    """One code as a PNG: two large pictures above a row of small ones, all square."""
    few = mine[torch.linspace(0, len(mine) - 1, min(EXAMPLES, len(mine))).long()]
    large = [picture for picture in (whole, mine.mean(0)) if picture.numel()]
    canvas = Image.new("LA", (2 * LARGE + GAP, LARGE + GAP + SMALL))
    canvas = canvas.convert("RGBA")
    for place, picture in enumerate(large):
        canvas.paste(_image(picture, LARGE, value_range), (place * (LARGE + GAP), 0))
    for place, picture in enumerate(few):
        canvas.paste(_image(picture, SMALL, value_range), (place * (SMALL + GAP), LARGE + GAP))
    buffer = io.BytesIO()
    canvas.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _image(picture: Tensor, side: int, value_range: tuple[float, float]) -> Image.Image:
    """A picture (C, h, w) as a square of this side: small ones enlarged with hard edges, large ones averaged."""
    grow = max(picture.shape[-2:]) < side
    mode = (
        {"mode": "nearest"}
        if grow
        else {"mode": "bilinear", "antialias": True, "align_corners": False}
    )
    scaled = F.interpolate(picture.unsqueeze(0), size=(side, side), **mode)
    return Image.fromarray(np.ascontiguousarray(to_pixels(scaled, value_range)[0])).convert("RGBA")
