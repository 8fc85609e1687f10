"""The convolutional network of VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937, section 4.1)."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone

Convolution: TypeAlias = type[nn.Conv2d] | type[nn.ConvTranspose2d]

#: Limit of the positions a side that the default number of strided convolutions may leave.
MOST_POSITIONS = 16
_RESIZE = "resize the images (dataset.image_size, if the data set has it)"


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))), with ``inner`` channels between the two."""

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

    For the options see ``ConvConfig``.

    Raises:
        SettingError: if samples are not images, or their sides cannot be halved as often.
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
        channels, height, width = image_shape("conv", shape)
        halvings = default_halvings(height, width) if downsamplings is None else downsamplings
        check_sides("downsamplings", halvings, height, width, halvings)
        self.latent_shape = (height >> halvings, width >> halvings)
        inner = residual_hidden or hidden
        blocks = [ResidualBlock(hidden, inner) for _ in range(2 * residual_blocks)]
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
            *last_layers(hidden, channels, output),
        )

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, dim, h, w)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, h, w) to (B, C, H, W)."""
        return self.decoder(z)


def image_shape(backbone: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a sample.

    Raises:
        SettingError: if it is not an image.
    """
    if len(shape) != 3:
        expected = f"images, found samples of shape {shape}"
        raise SettingError("backbone", backbone, expected, "set backbone to mlp")
    return shape


def check_sides(setting: str, value: int, height: int, width: int, halvings: int) -> None:
    """Refuse a setting that halves the sides of images more often than is possible.

    Raises:
        SettingError: that names the setting.
    """
    if height % 2**halvings or width % 2**halvings:
        expected = f"sides {height} x {width} divisible by {2**halvings}"
        raise SettingError(setting, value, expected, f"lower it, or {_RESIZE}")


def default_halvings(height: int, width: int) -> int:
    """The number that leaves 4 to 8 positions a side, at least one; up to 16 if divisibility ends.

    Raises:
        SettingError: if more than 16 would be left.
    """
    side = min(height, width)
    halvings = min(1, 1 - side % 2)
    while halvings and (side >> halvings) > 8 and side % 2 ** (halvings + 1) == 0:
        halvings += 1
    if side >> halvings > MOST_POSITIONS:
        expected = f"a side that halves to {MOST_POSITIONS} or less, found {side}"
        fix = f"{_RESIZE} to a multiple of 8, or set the number of downsamplings"
        raise SettingError("downsamplings", None, expected, fix)
    return halvings


def strided(kind: Convolution, channels: int, hidden: int, count: int) -> list[nn.Module]:
    """``count`` convolutions of kernel 4 and stride 2, ReLU between them; if 0, one of kernel 3."""
    if count == 0:
        return [nn.Conv2d(channels, hidden, 3, padding=1)]
    layers: list[nn.Module] = [kind(channels, hidden, 4, stride=2, padding=1)]
    for _ in range(count - 1):
        layers += [nn.ReLU(), kind(hidden, hidden, 4, stride=2, padding=1)]
    return layers


def last_layers(hidden: int, channels: int, output: str) -> list[nn.Module]:
    """From features to an image, with a tanh if ``output`` is ``tanh``."""
    layers: list[nn.Module] = [nn.ReLU(), nn.Conv2d(hidden, channels, 3, padding=1)]
    return [*layers, nn.Tanh()] if output == "tanh" else layers
