"""The network of LPIPS (Zhang et al. 2018, arXiv:1801.03924, eq. 1), with weights from a file."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from vq.evaluation.weights_file import LPIPS_FILE, WeightsFile
from vqcore.errors import SettingError

LpipsName: TypeAlias = Literal["vgg", "alex", "squeeze"]
#: How a network is recognised: an entry of its weights file and the shape of that entry.
NETWORKS: dict[LpipsName, tuple[str, tuple[int, ...]]] = {
    "alex": ("features.0.weight", (64, 3, 11, 11)),
    "vgg": ("features.28.weight", (512, 512, 3, 3)),
    "squeeze": ("features.3.squeeze.weight", (16, 64, 1, 1)),
}
#: Prefix of layer names in torchmetrics, where torchvision has ``features.``.
SLICE = re.compile(r"^slice(s\.)?\d+\.")


def read_lpips_network(
    weights: Path, option: str, file: WeightsFile = LPIPS_FILE
) -> tuple[LpipsName, nn.Module]:
    """Name and network of a file: torchmetrics' LPIPS, in eval mode and frozen.

    It takes two batches of images (B, 3, H, W) in [-1, 1]. Its parts are ``scaling_layer``,
    ``net``, which returns the features of each layer, and ``lins``, a 1x1 convolution a layer.

    Args:
        weights: of the network's convolutions. Its linear layers come with torchmetrics.
        option: that names the file, for messages.
        file: what it should be, for messages.

    Raises:
        SettingError: if the file is not such a file.
    """
    entries = file.read(weights, option)
    shapes = {name: tuple(value.shape) for name, value in entries.items()}
    name = next((name for name, (key, shape) in NETWORKS.items() if shapes.get(key) == shape), None)
    if name is None:
        raise file.other(weights, option, entries)
    network = _frozen(name)
    named = {key: SLICE.sub("features.", key) for key in network.net.state_dict()}
    try:
        network.net.load_state_dict({key: entries[source] for key, source in named.items()})
    except (KeyError, RuntimeError) as error:
        raise file.other(weights, option, entries) from error
    return name, network


def random_lpips_network(name: LpipsName, seed: int) -> nn.Module:
    """The same network without training: random convolutions, and linear layers of ones.

    Weights are normal with 2 / fan-in as variance, as ReLU asks (He et al. 2015,
    arXiv:1502.01852), and biases 0. With ones, a layer's distance is 2 - 2 cos (section 3 of the
    paper).
    """
    network = _frozen(name)
    generator = torch.Generator().manual_seed(seed)
    for layer in network.net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for weight in network.lins.parameters():
        nn.init.ones_(weight)
    return network


def check_image_size(
    network: nn.Module, name: str, sides: Sequence[int], setting: str, value: str
) -> None:
    """Refuse images that are too small for the network, without computing anything.

    Raises:
        SettingError: for this setting and its value.
    """
    blank = torch.zeros(1, 3, *sides, device="meta")
    try:
        copy.deepcopy(network).to("meta")(blank, blank)
    except RuntimeError as error:  # a layer without any output left
        size = " x ".join(map(str, sides))
        expected = f"a network that takes images of {size}; {name} does not ({error})"
        raise SettingError(setting, value, expected, "leave it out") from error


def _frozen(name: LpipsName) -> Any:
    # Imported here, since it takes seconds.
    from torchmetrics.functional.image.lpips import _LPIPS

    # Random weights instead of downloaded ones: the caller replaces them. Drawing them moves no
    # random numbers of the run.
    with torch.random.fork_rng(devices=[]):
        return _LPIPS(net=name, pnet_rand=True).eval().requires_grad_(False)
