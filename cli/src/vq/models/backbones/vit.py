"""A transformer over patches (ViT-VQGAN, Yu et al. 2021, arXiv:2110.04627).

With ``tokens`` its latents are one-dimensional as in TiTok (Yu et al. 2024, arXiv:2406.07550).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vq.models.backbones.sides import CONVOLUTIONS, check_axes
from vq.models.backbones.stack import Stack
from vq.models.samples import nearest_sides
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone

#: Patches a side that the default patch leaves at most: of pictures, and of signals; and the
#: frames of a clip that it leaves at least.
MOST_PATCHES, MOST_OF_A_SIGNAL, FEWEST_FRAMES = 8, 64, 4
#: Factor of the initial weights that form latents, and of those that form the image.
END_GAIN = 0.3
#: Factor of those that form an MLP's output: a block begins as little more than its attention.
MLP_GAIN = 0.1
#: The largest wavelength of positions over the smallest, as Heo et al. 2024 (arXiv:2403.13298) have
#: it for the few dozen patches of a side; texts have 10,000.
WAVELENGTHS = 100.0


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): the pre-norm block of a transformer."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads, inner = heads, round(mlp_ratio * width)
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        x = x + self._attend(self.before_attention(x))
        return x + self.narrow(F.gelu(self.widen(self.before_mlp(x))))

    def _attend(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = heads.unbind()
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.out(mixed.transpose(1, 2).flatten(2))


class ViT(Backbone):
    """Patches as tokens of a transformer, a latent from each; the decoder mirrors it.

    A convolution over the decoded values, at first the identity, smooths the borders of patches.

    Samples are pictures (C, H, W), signals (C, T) or clips (C, T, H, W). Positions are fixed, the
    sines and cosines of each axis: a model takes samples of other sides that its patches divide.

    With ``tokens`` N, that many learned tokens join the patches in the encoder, and are its latents
    (B, N, dim). In the decoder they stand beside as many mask tokens as there are patches, which
    become the patches. Sides are then those that the model was built for.

    For the options see ``ViTConfig``.

    Raises:
        SettingError: if samples are none of these, or patches do not divide their sides.
    """

    positions: Tensor
    #: Convolutions, of as many axes as samples have sides.
    patches: Any
    pixels: Any
    smooth: Any

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        patch_size: int | Sequence[int] | None = None,
        width: int = 128,
        depth: int = 4,
        decoder_depth: int | None = None,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        tokens: int | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_axes("vit", shape)
        channels, *sides = shape
        patch = _patch_of(sides, patch_size)
        self.grid = tuple(side // each for side, each in zip(sides, patch, strict=True))
        self.tokens, self.channel_first = tokens, tokens is None
        self.latent_shape = self.grid if tokens is None else (tokens,)

        def blocks(count: int) -> Stack:
            layers = (Block(width, heads, mlp_ratio) for _ in range(count))
            return Stack(*layers, checkpointing=checkpointing)

        conv, transposed = CONVOLUTIONS[len(sides)]
        self.patches = conv(channels, width, patch, stride=patch)
        self.encoder = blocks(depth)
        self.before_latents, self.latents = nn.LayerNorm(width), nn.Linear(width, dim)
        self.codes = nn.Linear(dim, width)
        self.decoder = blocks(depth if decoder_depth is None else decoder_depth)
        self.before_pixels = nn.LayerNorm(width)
        self.pixels = transposed(width, channels, patch, stride=patch)
        self.smooth = conv(channels, channels, 3, padding=1)
        self.register_buffer("positions", sines(self.grid, width), persistent=False)
        if tokens is not None:
            self.queries, self.code_positions, self.mask = (
                nn.Parameter(torch.empty(count, width)) for count in (tokens, tokens, 1)
            )
        self._begin()

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to (B, dim, *positions), or to (B, N, dim) with N ``tokens``."""
        x = self.patches(x)
        grid = x.shape[2:]
        x = x.flatten(2).mT + self._positions(grid)
        if self.tokens is not None:
            x = torch.cat([x, self.queries.expand(x.shape[0], -1, -1)], 1)
        x = self.encoder(x)
        if self.tokens is not None:
            return self.latents(self.before_latents(x[:, -self.tokens :]))
        return self.latents(self.before_latents(x)).mT.unflatten(2, grid)

    def decode(self, z: Tensor) -> Tensor:
        """Latents as ``encode`` returns them to (B, C, *sides)."""
        grid: Sequence[int] = self.grid
        if self.tokens is None:
            grid = z.shape[2:]
            x = self.codes(z.flatten(2).mT) + self._positions(grid)
        else:
            masks = (self.mask + self.positions).expand(z.shape[0], -1, -1)
            x = torch.cat([masks, self.codes(z) + self.code_positions], 1)
        x = self.before_pixels(self.decoder(x)[:, : math.prod(grid)])
        return self.smooth(self.pixels(x.mT.unflatten(2, grid)))

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        return self.smooth.weight

    def _positions(self, grid: Sequence[int]) -> Tensor:
        if tuple(grid) == self.grid:
            return self.positions
        return sines(grid, self.positions.shape[1]).to(self.positions)

    @torch.no_grad()
    def _begin(self) -> None:
        """Initial weights with which a sample is in its latents, and they in the picture.

        Maps keep the variance of what they take. Queries and keys are the same map, so tokens
        attend to those at similar positions (as in Trockman and Kolter 2023, arXiv:2305.09828),
        and each learned token begins at the position of a patch: latents of one row begin as local
        ones. With small random weights all of them are one mean of all patches, for long.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Linear) or layer is self.patches:
                nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
                nn.init.zeros_(layer.bias)
        for block in self.modules():
            if isinstance(block, Block):
                queries, keys, _ = block.qkv.weight.chunk(3)
                keys.copy_(queries)
                block.narrow.weight.mul_(MLP_GAIN)
        self.latents.weight.mul_(END_GAIN)
        self.codes.weight.div_(END_GAIN)
        nn.init.normal_(self.pixels.weight, std=END_GAIN * self.codes.out_features**-0.5)
        nn.init.zeros_(self.pixels.bias)
        nn.init.dirac_(self.smooth.weight)
        nn.init.zeros_(self.smooth.bias)
        if self.tokens is not None:
            count = len(self.positions)
            places = torch.arange(self.tokens) * count // self.tokens
            for learned in (self.queries, self.code_positions):
                learned.copy_(self.positions[places] + 0.1 * torch.randn_like(learned))
            nn.init.zeros_(self.mask)


def sines(grid: Sequence[int], width: int) -> Tensor:
    """Positions (patches, width): an equal share of the width for each axis of the grid.

    A share holds sin(p w_i) and cos(p w_i) of the position p along its axis, with w_i falling from
    1 to nearly 1/100 (Vaswani et al. 2017, arXiv:1706.03762); what is left over is 0.
    """
    half = width // (2 * len(grid))
    frequencies = WAVELENGTHS ** -(torch.arange(half) / max(half, 1))
    axes = [torch.outer(torch.arange(side), frequencies) for side in grid]
    shares = []
    for axis, angles in enumerate(axes):
        along = [1] * len(grid)
        along[axis] = -1
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        shares.append(waves.view(*along, 2 * half).expand(*grid, -1))
    return F.pad(torch.cat(shares, -1).flatten(0, -2), (0, width - 2 * half * len(grid)))


def _patch_of(sides: Sequence[int], given: int | Sequence[int] | None) -> tuple[int, ...]:
    """The sides of a patch.

    Raises:
        SettingError: if it does not divide those of samples.
    """
    if given is None:
        return default_patch(sides)
    patch = (given,) * len(sides) if isinstance(given, int) else tuple(given)
    if len(patch) != len(sides):
        expected = f"one number, or {len(sides)} for samples of sides {_by(sides)}"
        raise SettingError("patch_size", list(patch), expected)
    if any(side % each for side, each in zip(sides, patch, strict=True)):
        fix = f"change it, or resize samples to {nearest_sides(sides, patch)}"
        raise SettingError("patch_size", given, f"a divisor of the sides, {_by(sides)}", fix)
    return patch


def default_patch(sides: Sequence[int]) -> tuple[int, ...]:
    """The smallest square patch that leaves 8 patches or fewer along the shorter side.

    64 or fewer of a signal, and at least 2. The frames of a clip are in patches of that length,
    too, or of the next smaller one that divides them and leaves 4 or more.

    Raises:
        SettingError: if none divides the sides.
    """
    plane = sides[-2:]
    most = MOST_OF_A_SIGNAL if len(sides) == 1 else MOST_PATCHES
    common, shorter = math.gcd(*plane), min(plane)
    fitting = [n for n in range(2, common + 1) if common % n == 0 and 1 < shorter // n <= most]
    if not fitting:
        expected = (
            f"sides with a common divisor that leaves 2 to {most} patches, found {_by(plane)}"
        )
        raise SettingError("patch_size", None, expected, "set it, or resize samples")
    lengths = [
        max(n for n in range(1, fitting[0] + 1) if n == 1 or _cuts(frames, n))
        for frames in sides[:-2]
    ]
    return (*lengths, *[fitting[0]] * len(plane))


def _cuts(frames: int, length: int) -> bool:
    return frames % length == 0 and frames // length >= FEWEST_FRAMES


def _by(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))
