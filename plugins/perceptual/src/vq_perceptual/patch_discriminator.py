"""A discriminator of patches (Isola et al. 2017, arXiv:1611.07004, section 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from vqcore.numerics.stable import in_full_precision, without_autocast

#: By the number of axes besides the channels.
CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
#: The shortest side that the last two convolutions leave something of.
SMALLEST = 3
#: Positions a side that the default number of layers leaves, and the most it takes.
POSITIONS, MOST_LAYERS = 8, 3


class PatchDiscriminator(nn.Module):
    """A logit for each patch of a sample: strided convolutions, two more, leaky ReLU between them.

    Kernels have 4 values a side; along sides too short to be halved again, 3, without a stride.
    With 1, 2 or 3 strided convolutions a logit sees 16, 34 or 70 values a side.

    The paper normalises over the batch. No statistic of a batch enters here: a sample's logits
    would depend on the samples beside it, and micro-batches and processes would compute something
    else than one batch. Spectral norm (Miyato et al. 2018, arXiv:1802.05957) keeps the scale
    instead. Its power iteration is ``advance``: a step for each of the optimizer's.

    Args:
        shape: of a sample: (C, T), (C, H, W) or (C, T, H, W), sides of at least ``SMALLEST``.
        layers: number of strided convolutions; None takes ``default_layers``.
        channels: of the first convolution; doubled by each further one, up to eightfold.
        normalized: divide weights by their spectral norm.
    """

    def __init__(
        self, shape: Sequence[int], layers: int | None, channels: int, *, normalized: bool
    ) -> None:
        super().__init__()
        width, *sides = shape
        conv = CONVOLUTIONS[len(sides)]
        count = layers or default_layers(sides)
        stack: list[nn.Module] = []
        for layer in range(count + 1):
            halved = [layer < count and side // 2 >= SMALLEST for side in sides]
            kernel = [4 if half or layer == count else 3 for half in halved]
            stride = [2 if half else 1 for half in halved]
            wider = channels * min(2**layer, 8)
            stack += [conv(width, wider, kernel, stride=stride, padding=1), nn.LeakyReLU(0.2)]
            width = wider
            sides = [side // 2 if half else side for side, half in zip(sides, halved, strict=True)]
        self.layers = nn.Sequential(*stack, conv(width, 1, 4, padding=1))
        self._normalized = list(self.layers[::2]) if normalized else []
        for each in self._normalized:
            spectral_norm(each)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Samples (B, *shape) to logits (B, 1, *patches), in float32."""
        with parametrize.cached():
            with without_autocast(x.device.type):
                for layer in self._normalized:
                    layer.weight  # noqa: B018  # into the cache: norms are float32
            return in_full_precision(self.layers(x))

    def train(self, mode: bool = True) -> PatchDiscriminator:
        """Stay in eval mode: in the other one, each pass would be a step of power iteration."""
        return super().train(False)

    @torch.no_grad()
    def advance(self) -> None:
        """One step of power iteration, which follows the weights."""
        for layer in self._normalized:
            norm = layer.get_submodule("parametrizations").train()
            layer.weight  # noqa: B018
            norm.eval()


def default_layers(sides: Sequence[int]) -> int:
    """At most 3 strided convolutions, as long as 8 positions are left of the longest side."""
    fitting = (n for n in range(MOST_LAYERS, 1, -1) if max(sides) >> n >= POSITIONS)
    return next(fitting, 1)
