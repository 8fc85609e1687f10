"""Convolutions with two or more levels of latents, after VQ-VAE-2 (Razavi et al. 2019, arXiv:1906.00446, section 3.1).

The paper has two levels for pictures of 256x256 and three for 1024x1024. Here one path up through the levels both
conditions the finer ones and leads into the decoder, where the paper upsamples coarser codes once for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vq.models.backbones.conv import ResidualBlock, check_sides, default_halvings, picture, strided
from vqcore.interfaces.backbone import LevelBackbone


class Hierarchical(LevelBackbone):
    """Down: features f_l of each level from those of the next finer one, half the sides. Up, coarsest first:

        z_l = in_l(f_l, s_(l-1)),   s_l = up_l(q_l, s_(l-1)),   x_hat = decoder(q_L, s_(L-1))

    with q_l what z_l was quantized to, s_l twice the sides of q_l, and s_0 left out.

    Args:
        shape: (C, H, W).
        dim: D of every level.
        hidden, residual_blocks, residual_hidden, downsamplings, output, levels: see ``HierarchicalConfig``.

    Raises:
        SettingError: if samples are no pictures, or their sides cannot be halved so often.
    """

    channel_first = True

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        hidden: int = 32,
        residual_blocks: int = 2,
        residual_hidden: int | None = None,
        downsamplings: int | None = None,
        output: str = "linear",
        levels: int = 2,
    ) -> None:
        super().__init__()
        channels, height, width = picture("hierarchical", shape)
        halvings = default_halvings(min(height, width)) if downsamplings is None else downsamplings
        deepest = halvings + levels - 1
        check_sides("levels", levels, height, width, deepest)
        self.latent_shapes = tuple(
            (height >> n, width >> n) for n in range(deepest, halvings - 1, -1)
        )

        def blocks() -> list[nn.Module]:
            return [
                ResidualBlock(hidden, residual_hidden or hidden) for _ in range(residual_blocks)
            ]

        halves = [halvings, *[1] * (levels - 1)]
        inputs = [channels, *[hidden] * (levels - 1)]
        pairs = zip(inputs, halves, strict=True)
        self.down = nn.ModuleList(
            nn.Sequential(*strided(nn.Conv2d, taken, hidden, n), *blocks(), nn.ReLU())
            for taken, n in pairs
        )
        above = [0, *[hidden] * (levels - 1)]  # channels that come from the coarser levels
        self.into = nn.ModuleList(nn.Conv2d(hidden + more, dim, 1) for more in above)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(dim + more, hidden, 3, padding=1),
                *blocks(),
                *strided(nn.ConvTranspose2d, hidden, hidden, n),
            )
            for more, n in zip(above, reversed(halves), strict=True)
        )
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
            *([nn.Tanh()] if output == "tanh" else []),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) to features (B, hidden, h, w) of each level, coarsest first."""
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        return tuple(reversed(features))

    def refine(self, level: int, features: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """See ``LevelBackbone.refine``: (B, D, h, w)."""
        return self.into[level](torch.cat([features, *self._climb(coarser)], 1))

    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """Vectors (B, D, h, w) of each level to (B, C, H, W)."""
        (top,) = self._climb(z)
        return self.head(top)

    def _climb(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """s_l of the last of these levels, alone in a list that is empty where there is none."""
        state: list[Tensor] = []
        for up, codes in zip(self.up, vectors, strict=False):
            state = [up(torch.cat([codes, *state], 1))]
        return state
