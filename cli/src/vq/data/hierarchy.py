"""Images with a known part-of tree: objects made of parts made of sub-parts.

The Hyperbolic VQ-VAE paper names such data as future work.
"""

from __future__ import annotations

from typing import Literal, Unpack

import torch
from torch import Tensor

from vq.data.tree import Tree
from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.tensor_split import TensorSplit
from vqcore.numerics.counter_rng import key_of, uniform
from vqcore.plugin.deprecation import deprecated

#: Images painted at a time, to bound memory.
_CHUNK = 512
#: Offsets of a shape from the centre of its box along each axis, in half sides of the box.
_OFFSETS = (-0.1, 0.0, 0.1)


class HierarchySplit(TensorSplit):
    """Images, and the tree nodes that they show.

    Args:
        data: uint8 (N, 3, side, side).
        nodes: the node at each place, for each level below the root: (N, 1, 1), (N, 2, 2), ...
    """

    def __init__(self, data: Tensor, nodes: list[Tensor]) -> None:
        super().__init__(data, labels=nodes[0].flatten() - 1)
        self.nodes = nodes


class Hierarchy(ImageSource):
    """A full tree: ``branching`` kinds of objects, each with as many kinds of parts, and so on.

    An image shows one object. Its quarters show parts of that object, drawn with replacement; the
    quarters of a part show its sub-parts, down to cells of ``cell`` pixels. A node is a filled
    shape in its box, behind its own parts. Its place among its siblings sets the shape, and its hue
    comes from a range that its parent passes down, so near nodes look alike. Offsets, brightness
    and pixel noise vary.

    Nodes are numbered in heap order with 0 for the root. The class of an image is its object. For
    the options see ``HierarchyConfig``; augmentation does not change a split's ``nodes``.
    """

    def __init__(
        self,
        *,
        depth: int = 3,
        branching: int = 4,
        cell: int = 8,
        noise: float = 0.02,
        samples: int = 4096,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        side = cell * 2 ** (depth - 1)
        super().__init__((3, side, side), **augmentation)
        self.depth, self.branching, self.noise, self.samples = depth, branching, noise, samples
        self.tree = Tree.full(branching, depth)
        self.classes = [f"object {number}" for number in range(branching)]

    @deprecated("source.tree.distance", gone_in="0.3")
    def tree_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance in edges between nodes, see ``Tree.distance``."""
        return self.tree.distance(a, b)

    def split(self, name: Literal["train", "test"]) -> HierarchySplit:
        """uint8 (N, 3, side, side), the same on every machine except for rounding."""
        count = self.samples if name == "train" else max(1, self.samples // 4)
        part = ("train", "test").index(name)
        nodes = draw_nodes(key_of(part, 0), count, self.depth, self.branching)
        chunks = zip(*(level.split(_CHUNK) for level in nodes), strict=True)
        images = [
            self._paint(key_of(part, 1, number), chunk) for number, chunk in enumerate(chunks)
        ]
        return HierarchySplit(torch.cat(images), nodes)

    def _paint(self, key: int, nodes: tuple[Tensor, ...]) -> Tensor:
        count, side = len(nodes[0]), self.shape[1]
        image = torch.full((count, 3, side, side), 0.08)
        colours = node_colours(self.depth, self.branching)
        for level, shown in enumerate(nodes, 1):
            size = 0.92 if level < self.depth else 0.66  # the deepest must not hide the others
            masks = shape_masks(side // shown.shape[-1], size)
            offsets = (uniform(key_of(key, level), 2, *shown.shape) * len(_OFFSETS)).long()
            mask = masks[(shown - 1) % self.branching, offsets[0], offsets[1]]
            mask = mask.transpose(2, 3).reshape(count, 1, side, side)
            colour = _upsample(colours[shown].permute(0, 3, 1, 2), side // shown.shape[-1])
            image = torch.lerp(image, colour, mask)
        brightness = 0.85 + 0.15 * uniform(key_of(key, 0), count, 1, 1, 1).float()
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(key))
        image = (brightness * image).add_(noise, alpha=self.noise / 2)
        return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def draw_nodes(key: int, count: int, depth: int, branching: int) -> list[Tensor]:
    """The nodes of each level (count, 2^(level-1), 2^(level-1)): random children of those above."""
    nodes: list[Tensor] = []
    for level in range(depth):
        shape = (count, 2**level, 2**level)
        child = (uniform(key_of(key, level), *shape) * branching).long()
        parent = _upsample(nodes[-1], 2) if nodes else torch.zeros(shape, dtype=torch.int64)
        nodes.append(parent * branching + 1 + child)
    return nodes


def shape_masks(pixels: int, size: float) -> Tensor:
    """Pixel coverage of each shape at each offset, (6, 3, 3, pixels, pixels).

    The shapes are a square, disc, diamond, plus, triangle and bar.

    Args:
        pixels: side of the box.
        size: of the shape in it; 1 is the largest that fits.
    """
    centres = (torch.arange(pixels) + 0.5) / pixels * 2 - 1  # of pixels, -1 to 1 in the box
    place = centres - torch.tensor(_OFFSETS).unsqueeze(1)
    y, x = place.view(len(_OFFSETS), 1, pixels, 1), place.view(1, len(_OFFSETS), 1, pixels)
    high, wide = y.abs(), x.abs()
    distances = (  # to the edge, negative inside
        torch.maximum(high, wide) - 0.8 * size,
        (high.square() + wide.square()).sqrt() - size,
        (high + wide - 1.2 * size) / 2**0.5,
        torch.minimum(torch.maximum(high, 2.6 * wide), torch.maximum(2.6 * high, wide)) - size,
        torch.maximum(y - 0.7 * size, (2 * wide - y - size) / 5**0.5).expand(3, 3, pixels, pixels),
        torch.maximum(2.2 * high, wide) - size,
    )
    return (0.5 - torch.stack(distances) * pixels / 2).clamp(0, 1)


def node_colours(depth: int, branching: int) -> Tensor:
    """RGB of every node in [0, 1], (nodes, 3): brighter with depth, hue in the parent's range."""
    colours = [torch.zeros(1, 3)]
    for level in range(1, depth + 1):
        count = branching**level
        hue = 0.85 * (torch.arange(count) + 0.5) / count  # not the whole circle: its ends meet
        wheel = (hue.unsqueeze(1) * 6 - torch.tensor([3.0, 2.0, 4.0])).abs()
        rgb = torch.stack([wheel[:, 0] - 1, 2 - wheel[:, 1], 2 - wheel[:, 2]], 1).clamp(0, 1)
        brightness = 0.25 + 0.75 * (level / depth) ** 1.5
        colours.append(brightness * (1 - 0.85 * (1 - rgb)))
    return torch.cat(colours)


def _upsample(boxes: Tensor, pixels: int) -> Tensor:
    """Each value of (..., h, w) repeated over a square of pixels."""
    return boxes.repeat_interleave(pixels, -1).repeat_interleave(pixels, -2)
