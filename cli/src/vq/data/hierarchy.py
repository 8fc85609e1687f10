"""Pictures with an explicit part-of tree, objects made of parts made of sub-parts (Hyperbolic VQ-VAE, future work)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vq.data.picture_source import PictureSource
from vq.data.splits import ArraySplit
from vq.data.tree import tree_distance
from vqcore.numerics.counter_rng import key_of, uniform

#: Pictures painted at a time, to bound memory.
_CHUNK = 512
#: Where a shape may stand in its box, along each axis, in units of half the box's side.
_MOVES = (-0.1, 0.0, 0.1)


class HierarchySplit(ArraySplit):
    """Pictures, and which node of the tree each place of them shows.

    Args:
        data: bytes (N, 3, side, side).
        nodes: for each level below the root, its node at each place: (N, 1, 1), (N, 2, 2), (N, 4, 4), ...
    """

    def __init__(self, data: Tensor, nodes: list[Tensor]) -> None:
        super().__init__(data, labels=nodes[0].flatten() - 1)
        self.nodes = nodes


class Hierarchy(PictureSource):
    """A full tree of kinds: ``branching`` kinds of objects, each with as many kinds of parts of its own, and so on.

    A picture shows one object. Its four quarters show parts that belong to that object, drawn with replacement; the
    quarters of a part show sub-parts of that part, down to cells of ``cell`` pixels. A node is a filled shape inside
    its box, behind its own parts: its place among its siblings decides the form, and the hue, out of a range that the
    parent hands down, so that nodes near each other in the tree look alike. Boxes, brightness and pixels vary.

    Nodes are numbered in heap order, the root (anything) being 0. The class of a picture is its object.

    Args:
        depth: levels of the tree below the root.
        branching: children of a node.
        cell: side of a box of the deepest level, pixels.
        noise: standard deviation of the noise on a pixel.
        samples: pictures to train with; a quarter as many are held out.
        flip, shift: see ``PictureSource``; the nodes of a split are those of its pictures before that.
    """

    def __init__(
        self,
        *,
        depth: int = 3,
        branching: int = 4,
        cell: int = 8,
        noise: float = 0.02,
        samples: int = 4096,
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        side = cell * 2 ** (depth - 1)
        super().__init__((3, side, side), flip, shift)
        self.depth, self.branching, self.noise, self.samples = depth, branching, noise, samples
        self.classes = [f"object {number}" for number in range(branching)]

    def split(self, name: Literal["train", "test"]) -> HierarchySplit:
        """Bytes (N, 3, side, side), the same on every machine but for rounding."""
        count = self.samples if name == "train" else max(1, self.samples // 4)
        part = ("train", "test").index(name)
        nodes = draw_nodes(key_of(part, 0), count, self.depth, self.branching)
        chunks = [
            [level[first : first + _CHUNK] for level in nodes] for first in range(0, count, _CHUNK)
        ]
        pictures = [
            self._painted(key_of(part, 1, number), chunk) for number, chunk in enumerate(chunks)
        ]
        return HierarchySplit(torch.cat(pictures), nodes)

    def tree_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Edges on the way between nodes, int64; shapes broadcast."""
        return tree_distance(a, b, self.branching)

    def _painted(self, key: int, nodes: list[Tensor]) -> Tensor:
        count, side = len(nodes[0]), self.shape[1]
        picture = torch.full((count, 3, side, side), 0.08)
        colours = node_colours(self.depth, self.branching)
        for level, shown in enumerate(nodes, 1):
            size = (
                0.92 if level < self.depth else 0.66
            )  # the deepest shapes leave room to see the others
            masks = stamps(side // shown.shape[-1], size)
            moves = (uniform(key_of(key, level), 2, *shown.shape) * len(_MOVES)).long()
            mask = (
                masks[(shown - 1) % self.branching, moves[0], moves[1]]
                .transpose(2, 3)
                .reshape(count, 1, side, side)
            )
            colour = _spread(colours[shown].permute(0, 3, 1, 2), side // shown.shape[-1])
            picture = torch.lerp(picture, colour, mask)
        light = 0.85 + 0.15 * uniform(key_of(key, 0), count, 1, 1, 1).float()
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(key))
        return (
            (light * picture)
            .add_(noise, alpha=self.noise / 2)
            .clamp_(0, 1)
            .mul_(255)
            .round_()
            .to(torch.uint8)
        )


def draw_nodes(key: int, count: int, depth: int, branching: int) -> list[Tensor]:
    """For each level its nodes (count, 2^(level-1), 2^(level-1)): children, at random, of those a level above."""
    nodes: list[Tensor] = []
    for level in range(depth):
        shape = (count, 2**level, 2**level)
        child = (uniform(key_of(key, level), *shape) * branching).long()
        parent = _spread(nodes[-1], 2) if nodes else torch.zeros(shape, dtype=torch.int64)
        nodes.append(parent * branching + 1 + child)
    return nodes


def stamps(pixels: int, size: float) -> Tensor:
    """Every shape in its box at each of its places, (6, 3, 3, pixels, pixels): the share of a pixel that it covers.

    The shapes are a square, disc, diamond, plus, triangle and bar.

    Args:
        pixels: side of the box.
        size: of a shape in it, 1 for the largest that fits.
    """
    place = ((torch.arange(pixels) + 0.5) / pixels * 2 - 1) - torch.tensor(_MOVES).unsqueeze(
        1
    )  # -1 to 1 in the box
    y, x = place.view(len(_MOVES), 1, pixels, 1), place.view(1, len(_MOVES), 1, pixels)
    high, wide = y.abs(), x.abs()
    beyond = (  # distance from the edge, negative inside
        torch.maximum(high, wide) - 0.8 * size,
        (high.square() + wide.square()).sqrt() - size,
        (high + wide - 1.2 * size) / 2**0.5,
        torch.minimum(torch.maximum(high, 2.6 * wide), torch.maximum(2.6 * high, wide)) - size,
        torch.maximum(y - 0.7 * size, (2 * wide - y - size) / 5**0.5).expand(3, 3, pixels, pixels),
        torch.maximum(2.2 * high, wide) - size,
    )
    return (0.5 - torch.stack(beyond) * pixels / 2).clamp(0, 1)


def node_colours(depth: int, branching: int) -> Tensor:
    """RGB of every node in [0, 1], (nodes, 3): deeper is brighter, the hue from a part of the parent's range."""
    colours = [torch.zeros(1, 3)]
    for level in range(1, depth + 1):
        hue = (
            0.85 * (torch.arange(branching**level) + 0.5) / branching**level
        )  # not the whole circle: its ends meet
        wheel = (hue.unsqueeze(1) * 6 - torch.tensor([3.0, 2.0, 4.0])).abs()
        rgb = torch.stack([wheel[:, 0] - 1, 2 - wheel[:, 1], 2 - wheel[:, 2]], 1).clamp(0, 1)
        share = level / depth
        colours.append((0.25 + 0.75 * share**1.5) * (1 - 0.85 * (1 - rgb)))
    return torch.cat(colours)


def _spread(boxes: Tensor, pixels: int) -> Tensor:
    """Each value of (..., h, w) over a square of pixels."""
    return boxes.repeat_interleave(pixels, -1).repeat_interleave(pixels, -2)
