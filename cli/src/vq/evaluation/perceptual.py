"""LPIPS and FID of reconstructions, with the weights of their networks from local files: nothing is downloaded."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vq.evaluation.metric import Figure, as_rgb, unit_range
from vq.optional_dependencies import require
from vqcore.errors import SettingError
from vqcore.interfaces.output import Output

EXTRA = "perceptual"
#: How each network of LPIPS is told by its weights: an entry of the file and that entry's shape.
NETWORKS = {
    "alex": ("features.0.weight", (64, 3, 11, 11)),
    "vgg": ("features.28.weight", (512, 512, 3, 3)),
    "squeeze": ("features.3.squeeze.weight", (16, 64, 1, 1)),
}
#: How torchmetrics begins the names of a network's layers, where torchvision says ``features.``.
SLICE = re.compile(r"^slice(s\.)?\d+\.")
LPIPS_FILE = "torchvision's ImageNet weights of AlexNet, VGG16 or SqueezeNet 1.1, as in alexnet-owt-7be5be79.pth"
LPIPS_FIX = "get it where there is a network: torchvision.models.alexnet(weights='IMAGENET1K_V1')"
FID_FILE = "torch-fidelity's weights of Inception v3, pt_inception-2015-12-05-6726825d.pth"
FID_FIX = "get it where there is a network: torch_fidelity.FeatureExtractorInceptionV3('inception', ['2048'])"
HUB = "saves it in the folder checkpoints below torch.hub.get_dir()"


class Lpips(Figure):
    """``lpips``, the mean over the pictures (Zhang et al. 2018, arXiv:1801.03924, eq. 1), and ``lpips_network``.

    Args:
        weights: of the network's convolutions; the linear layers on top of them come with torchmetrics.
        shape: of a picture.
        value_range: of the data; what a decoder gives beyond it is cut off.
        device: of the pictures.

    Raises:
        UsageError: if torchmetrics is not installed.
        SettingError: if the file holds something else, or the network is too deep for pictures so small.
    """

    def __init__(
        self,
        weights: Path,
        shape: tuple[int, ...],
        value_range: tuple[float, float],
        device: torch.device,
    ) -> None:
        require(EXTRA, "--lpips", "torchmetrics", "torchvision")
        self.name, self.network = _lpips_network(weights)
        self.network.to(device)
        self.range, self.samples = value_range, 0
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        blank = torch.zeros(1, 3, *shape[1:], device=device)
        try:
            self.network(blank, blank)
        except RuntimeError as error:  # a layer without any output left
            expected = f"a network that takes pictures of {shape[1]} x {shape[2]}; {self.name} does not ({error})"
            raise SettingError("--lpips", str(weights), expected, "leave it out") from error

    @torch.no_grad()
    def add(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Figure.add``."""
        seen = (as_rgb(unit_range(values, self.range)) * 2 - 1 for values in (x, reconstruction))
        self.total += self.network(*seen).double().sum()
        self.samples += len(x)

    def numbers(self) -> dict[str, Any]:
        """See ``Figure.numbers``."""
        return {"lpips": float(self.total) / self.samples, "lpips_network": self.name}


class Fid(Figure):
    """``fid`` of all reconstructions against all samples (Heusel et al. 2017, arXiv:1706.08500, eq. 6): the rFID.

    Args:
        weights: of Inception v3, as torch-fidelity saves them.
        value_range: of the data; what a decoder gives beyond it is cut off, and both are rounded to bytes.
        device: of the pictures.

    Raises:
        UsageError: if torchmetrics or torch-fidelity is not installed.
        SettingError: if the file holds something else.
    """

    def __init__(
        self, weights: Path, value_range: tuple[float, float], device: torch.device
    ) -> None:
        require(EXTRA, "--fid", "torchmetrics", "torch_fidelity")
        from torchmetrics.image.fid import FrechetInceptionDistance

        entries = _read("--fid", weights, FID_FILE, FID_FIX)  # refuses whatever is no plain tensors
        try:
            self.metric = FrechetInceptionDistance(feature_extractor_weights_path=str(weights)).to(
                device
            )
        except RuntimeError as error:
            raise _other("--fid", weights, FID_FILE, FID_FIX, entries) from error
        self.range = value_range

    def add(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Figure.add``."""
        for values, real in ((x, True), (reconstruction, False)):
            self.metric.update(
                (as_rgb(unit_range(values, self.range)) * 255).round().byte(), real=real
            )

    def numbers(self) -> dict[str, Any]:
        """See ``Figure.numbers``."""
        return {"fid": float(self.metric.compute())}


def _lpips_network(weights: Path) -> tuple[str, torch.nn.Module]:
    from torchmetrics.functional.image.lpips import _LPIPS

    entries = _read("--lpips", weights, LPIPS_FILE, LPIPS_FIX)
    shapes = {name: tuple(value.shape) for name, value in entries.items()}
    name = next((name for name, (key, shape) in NETWORKS.items() if shapes.get(key) == shape), None)
    if name is None:
        raise _other("--lpips", weights, LPIPS_FILE, LPIPS_FIX, entries)
    network = _LPIPS(
        net=name, pnet_rand=True
    )  # random instead of downloaded, until the file's are in
    named = {key: SLICE.sub("features.", key) for key in network.net.state_dict()}
    try:
        network.net.load_state_dict({key: entries[source] for key, source in named.items()})
    except (KeyError, RuntimeError) as error:
        raise _other("--lpips", weights, LPIPS_FILE, LPIPS_FIX, entries) from error
    return name, network.eval().requires_grad_(False)


def _read(option: str, path: Path, expected: str, fix: str) -> dict[str, Tensor]:
    """The tensors of a weights file, by name."""
    try:
        entries = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SettingError(
            option, str(path), f"a file with {expected}; nothing is there", f"{fix} {HUB}"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _other(option, path, expected, fix, {}) from error
    if not isinstance(entries, dict) or not all(
        isinstance(value, Tensor) for value in entries.values()
    ):
        raise _other(option, path, expected, fix, {})
    return entries


def _other(
    option: str, path: Path, expected: str, fix: str, entries: dict[str, Tensor]
) -> SettingError:
    found = (
        f"found {len(entries)} tensors of another network"
        if entries
        else "found no file of weights"
    )
    return SettingError(option, str(path), f"a file with {expected}; {found}", f"{fix} {HUB}")
