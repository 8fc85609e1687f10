"""LPIPS as a loss of training (Zhang et al. 2018, arXiv:1801.03924, eq. 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vq.evaluation.lpips_network import (
    LpipsName,
    check_image_size,
    random_lpips_network,
    read_lpips_network,
)
from vq.evaluation.weights_file import LPIPS_FILES
from vq_perceptual.perceptual_config import RANDOM
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch
from vqcore.numerics.stable import in_full_precision, without_autocast


class Perceptual(Loss):
    """sum_l mean_hw |w_l (f_l(x_hat) - f_l(x))|^2, averaged over the images.

    f_l(x) are the features of layer l of a pretrained network at each position (h, w), scaled to
    unit length over the channels; w_l^2 is a linear layer fitted to what people see. Images have 1
    or 3 channels and any range; the network sees them in [-1, 1]. Reconstructions are not clipped,
    so that values out of range have a gradient. With ``weights = random`` the network is untrained
    and w_l is 1.

    The network computes in the precision of the run and the distances in float32. It is frozen, and
    no part of the model or of a checkpoint. Options: see ``PerceptualConfig``.

    Cost: two passes through the network and one back. VGG16 takes 31 GFLOP for a pass of an image
    of 256 x 256, and 59 MB for its weights.

    Raises:
        SettingError: for samples that are no images of 1 or 3 channels, or too small for the
            network, and for a file without the network's weights.
    """

    autocast = True
    recordable = True
    network: Any  # torchmetrics has no types

    def __init__(
        self,
        *,
        samples: SampleSpec,
        weights: str,
        network: LpipsName = "vgg",
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(samples=samples, **options)
        shape = samples.shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            expected = f"images (C, H, W) of 1 or 3 channels, found samples of shape {shape}"
            raise SettingError("losses", "perceptual", expected, "leave it out")
        self.network = _network(weights, network, seed)
        check_image_size(self.network, network, shape[1:], "losses", "perceptual")

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        x, y = self._seen(batch.inputs), self._seen(batch.reconstruction)
        distances = []
        # the network's own forward defines a class, which no compiler takes
        slices = [each for each in self.network.net.modules() if isinstance(each, nn.Sequential)]
        for layers, linear in zip(slices, self.network.lins, strict=True):
            x, y = layers(x), layers(y)
            with without_autocast(x.device.type):
                distances.append(linear((_unit(x) - _unit(y)) ** 2).mean())
        return torch.stack(distances).sum()

    def _seen(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) as the network sees them: three channels, scaled from [-1, 1]."""
        low, high = self.samples.value_range
        scaled = (in_full_precision(images) - low) * (2 / (high - low)) - 1
        return self.network.scaling_layer(scaled.expand(-1, 3, -1, -1))


def _network(weights: str, name: LpipsName, seed: int) -> nn.Module:
    if weights == RANDOM:
        return random_lpips_network(name, seed)
    path, file = Path(weights).expanduser(), LPIPS_FILES[name]
    found, network = read_lpips_network(path, "weights", file)
    if found != name:
        raise file.error(path, "weights", f"found those of {found}, another network")
    return network


def _unit(features: Tensor) -> Tensor:
    """Of unit length over the channels, in float32."""
    # as torchmetrics does: the gradient of a root is infinite at 0
    features = in_full_precision(features)
    return features * (features.square().sum(1, keepdim=True) + 1e-8).rsqrt()
