"""Convolutions with several levels of latents (VQ-VAE-2, Razavi et al. 2019, arXiv:1906.00446).

Here one upward path both conditions the finer levels and feeds the decoder. In the paper
(section 3.1) each coarser code is upsampled separately for the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vq.models.backbones import conv
from vq.models.backbones.sides import check_sides, default_halvings, image_shape
from vq.models.backbones.stack import Stack
from vqcore.interfaces.backbone import LevelBackbone


class Hierarchical(LevelBackbone):
    """Features f_l go down, each level at half the sides of the next finer one; states s_l go up:

        z_l = in_l(f_l, s_(l-1)),   s_l = up_l(q_l, s_(l-1)),   x_hat = decoder(q_L, s_(L-1))

    Level 1 is the coarsest, q_l is the quantized z_l, s_l has twice the sides of q_l, and there is
    no s_0. Each level has latents of D = ``dim``. For the options see ``HierarchicalConfig``.

    Raises:
        SettingError: if samples are not images, or their sides cannot be halved as often.
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
        init: str | None = None,
        checkpointing: bool = False,
        levels: int = 2,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape("hierarchical", shape)
        halvings = default_halvings(height, width) if downsamplings is None else downsamplings
        deepest = halvings + levels - 1
        check_sides("levels", levels, (height, width), deepest)
        depths = range(deepest, halvings - 1, -1)
        self.latent_shapes = tuple((height >> depth, width >> depth) for depth in depths)

        stack, inner = partial(Stack, checkpointing=checkpointing), residual_hidden or hidden

        def blocks() -> list[conv.ResidualBlock]:
            return [conv.ResidualBlock(hidden, inner) for _ in range(residual_blocks)]

        # finest level first: the channels that it takes, and how often it halves the sides
        down = [(channels, halvings), *[(hidden, 1)] * (levels - 1)]
        self.down = nn.ModuleList(
            stack(*conv.strided(nn.Conv2d, taken, hidden, [count] * 2), *blocks(), nn.ReLU())
            for taken, count in down
        )
        # coarsest level first: the channels of the state of the coarser levels
        above = [0, *[hidden] * (levels - 1)]
        self.into = nn.ModuleList(nn.Conv2d(hidden + state, dim, 1) for state in above)
        self.up = nn.ModuleList(
            stack(
                nn.Conv2d(dim + state, hidden, 3, padding=1),
                *blocks(),
                *conv.strided(nn.ConvTranspose2d, hidden, hidden, [count] * 2),
            )
            for state, (_, count) in zip(above, reversed(down), strict=True)
        )
        self.head = nn.Sequential(*conv.last_layers(hidden, channels, output))
        if conv.begins_with_he(init, channels, deepest):
            conv.keep_variance(self, ends=(*self.into, self.head[1]))

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        return conv.last_weight(self.head)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # of levels
        """(B, C, H, W) to features (B, hidden, h, w) of each level, coarsest first."""
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        return tuple(reversed(features))

    def refine(self, level: int, features: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """See ``LevelBackbone.refine``: (B, D, h, w)."""
        return self.into[level](torch.cat([features, *self._state(coarser)], 1))

    def decode(self, z: Sequence[Tensor]) -> Tensor:  # type: ignore[override]  # of levels
        """Vectors (B, D, h, w) of each level to (B, C, H, W)."""
        (state,) = self._state(z)
        return self.head(state)

    def _state(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """s_l of the last of these levels, in a list that is empty if there are none."""
        state: list[Tensor] = []
        for up, codes in zip(self.up, vectors, strict=False):
            state = [up(torch.cat([codes, *state], 1))]
        return state
