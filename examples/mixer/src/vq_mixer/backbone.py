"""MLP-Mixer (Tolstikhin et al. 2021, arXiv:2105.01601)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from vqcore import Backbone, SettingError

#: Convolutions over samples of one, two and three sides, and their transposes.
CONVOLUTIONS: dict[int, Any] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


class Block(nn.Module):
    """x + (mlp norm(x)^T)^T over the patches, then x + mlp norm(x) over the channels."""

    def __init__(self, tokens: int, token_width: int, width: int) -> None:
        super().__init__()
        self.before_tokens, self.before_channels = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = _mlp(tokens, token_width)
        self.channels = _mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same."""
        x = x + self.tokens(self.before_tokens(x).mT).mT
        return x.add(self.channels(self.before_channels(x)))


class Mixer(Backbone):
    """Patches of images, signals or clips (C, *sides) to a latent each, and back.

    Latents are (B, *grid, dim). The MLPs over patches fix their number, and so the sides of a
    sample. Options: see ``MixerConfig``.

    Raises:
        SettingError: if a sample has no sides, or patches do not divide them.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        patch_size: int = 4,
        width: int = 64,
        token_width: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        if len(sides) not in CONVOLUTIONS or any(side % patch_size for side in sides):
            expected = f"a divisor of the sides of samples, which are {tuple(shape)}"
            raise SettingError("patch_size", patch_size, expected)
        self.latent_shape = tuple(side // patch_size for side in sides)
        convolution, transposed = CONVOLUTIONS[len(sides)]

        def blocks() -> nn.Sequential:
            tokens = math.prod(self.latent_shape)
            return nn.Sequential(*(Block(tokens, token_width, width) for _ in range(depth)))

        self.patches = convolution(channels, width, patch_size, stride=patch_size)
        self.encoder = nn.Sequential(blocks(), nn.LayerNorm(width), nn.Linear(width, dim))
        self.decoder = nn.Sequential(nn.Linear(dim, width), blocks(), nn.LayerNorm(width))
        self.values = transposed(width, channels, patch_size, stride=patch_size)

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        weight: nn.Parameter = self.values.weight
        return weight

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to (B, *grid, dim)."""
        tokens: Tensor = self.encoder(self.patches(x).flatten(2).mT)
        return tokens.reshape(x.shape[0], *self.latent_shape, -1)

    def decode(self, z: Tensor) -> Tensor:
        """(B, *grid, dim) to (B, C, *sides)."""
        tokens: Tensor = self.decoder(z.flatten(1, -2)).mT
        values: Tensor = self.values(tokens.reshape(z.shape[0], -1, *self.latent_shape))
        return values


def _mlp(width: int, hidden: int) -> nn.Sequential:
    """An MLP that begins as 0: at first a block is the identity, and a deep mixer learns."""
    narrow = nn.Linear(hidden, width)
    nn.init.zeros_(narrow.weight)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), narrow)
