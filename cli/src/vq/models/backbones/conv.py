"""The convolutional network of VQ-VAE: kernel 4 and stride 2, then residual blocks (arXiv:1711.00937, section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone

#: Positions a side that the default number of strided convolutions may leave.
MOST_POSITIONS = 16


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))), ``inner`` channels between the two."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.body(x)


class Conv(Backbone):
    """Strided convolutions, residual blocks and a projection to ``dim``; the decoder mirrors them.

    Args:
        shape: (C, H, W).
        dim: D.
        hidden, residual_blocks, residual_hidden, downsamplings, output: see ``ConvConfig``.

    Raises:
        SettingError: if samples are no pictures, or their sides cannot be halved so often.
    """

    channel_first = True

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        hidden: int = 64,
        residual_blocks: int = 2,
        residual_hidden: int | None = None,
        downsamplings: int | None = None,
        output: str = "linear",
    ) -> None:
        super().__init__()
        channels, height, width = picture("conv", shape)
        halvings = default_halvings(min(height, width)) if downsamplings is None else downsamplings
        check_sides("downsamplings", halvings, height, width, halvings)
        self.latent_shape = (height >> halvings, width >> halvings)
        blocks = [
            ResidualBlock(hidden, residual_hidden or hidden) for _ in range(2 * residual_blocks)
        ]
        self.encoder = nn.Sequential(
            *strided(nn.Conv2d, channels, hidden, halvings),
            *blocks[:residual_blocks],
            nn.ReLU(),
            nn.Conv2d(hidden, dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, hidden, 3, padding=1),
            *blocks[residual_blocks:],
            *strided(nn.ConvTranspose2d, hidden, hidden, halvings),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
            *([nn.Tanh()] if output == "tanh" else []),
        )

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, dim, h, w)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, h, w) to (B, C, H, W)."""
        return self.decoder(z)


def picture(backbone: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a sample.

    Raises:
        SettingError: if it is no picture.
    """
    if len(shape) != 3:
        raise SettingError(
            "backbone", backbone, f"pictures, found samples of shape {shape}", "set backbone to mlp"
        )
    return shape  # type: ignore[return-value]


def check_sides(setting: str, value: int, height: int, width: int, halvings: int) -> None:
    """Refuse a setting that would halve the sides of pictures more often than they can be.

    Raises:
        SettingError: naming it.
    """
    if height % 2**halvings or width % 2**halvings:
        fix = "lower it, or resize the pictures (dataset.image_size, where the data set has it)"
        raise SettingError(
            setting, value, f"sides {height} x {width} divisible by {2**halvings}", fix
        )


def default_halvings(side: int) -> int:
    """As many as leave 4 to 8 positions a side, at least one; a side that cannot be halved so often may leave up to 16.

    Raises:
        SettingError: if it would leave more.
    """
    halvings = min(1, 1 - side % 2)
    while halvings and (side >> halvings) > 8 and side % 2 ** (halvings + 1) == 0:
        halvings += 1
    if side >> halvings > MOST_POSITIONS:
        fix = "resize the pictures to a multiple of 8 (dataset.image_size, where the data set has it), or say how many"
        raise SettingError(
            "downsamplings", None, f"a side that halves to 16 or less, found {side}", fix
        )
    return halvings


def strided(kind: type[nn.Module], channels: int, hidden: int, count: int) -> list[nn.Module]:
    """``count`` convolutions of kernel 4 and stride 2 with ReLU between them; one of kernel 3 where there are none."""
    if count == 0:
        return [nn.Conv2d(channels, hidden, 3, padding=1)]
    first = [kind(channels, hidden, 4, stride=2, padding=1)]
    rest = [[nn.ReLU(), kind(hidden, hidden, 4, stride=2, padding=1)] for _ in range(count - 1)]
    return first + [layer for pair in rest for layer in pair]
