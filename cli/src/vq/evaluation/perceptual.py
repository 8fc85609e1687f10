"""LPIPS and FID of reconstructions, with network weights from local files."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vq.evaluation.metric import Metric
from vq.optional_dependencies import require
from vqcore.errors import SettingError
from vqcore.interfaces.output import Output

EXTRA = "perceptual"
#: How a network of LPIPS is recognised: an entry of its weights file and the shape of that entry.
NETWORKS: dict[Literal["alex", "vgg", "squeeze"], tuple[str, tuple[int, ...]]] = {
    "alex": ("features.0.weight", (64, 3, 11, 11)),
    "vgg": ("features.28.weight", (512, 512, 3, 3)),
    "squeeze": ("features.3.squeeze.weight", (16, 64, 1, 1)),
}
#: Prefix of layer names in torchmetrics, where torchvision has ``features.``.
SLICE = re.compile(r"^slice(s\.)?\d+\.")


@dataclass(frozen=True)
class _WeightsFile:
    """The file that an option names: what it should hold, and the call that downloads it."""

    option: str
    content: str
    call: str

    def read(self, path: Path) -> dict[str, Tensor]:
        """The tensors in the file, by name."""
        try:
            entries = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise self.error(path, "there is no such file") from error
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise self.error(path, "found no weights") from error
        named = isinstance(entries, dict)
        if not named or not all(isinstance(value, Tensor) for value in entries.values()):
            raise self.error(path, "found no weights")
        return entries

    def other(self, path: Path, entries: dict[str, Tensor]) -> SettingError:
        """The error for a file that holds another network."""
        return self.error(path, f"found {len(entries)} tensors of another network")

    def error(self, path: Path, found: str) -> SettingError:
        """The error for a file that does not hold the weights."""
        saves = f"{self.call} saves it in the folder checkpoints below torch.hub.get_dir()"
        expected = f"a file with {self.content}; {found}"
        fix = f"on a machine with a network, {saves}"
        return SettingError(self.option, str(path), expected, fix)


_LPIPS_FILE = _WeightsFile(
    "--lpips",
    "torchvision's ImageNet weights of AlexNet, VGG16 or SqueezeNet 1.1, "
    "as in alexnet-owt-7be5be79.pth",
    "torchvision.models.alexnet(weights='IMAGENET1K_V1')",
)
_FID_FILE = _WeightsFile(
    "--fid",
    "torch-fidelity's weights of Inception v3, pt_inception-2015-12-05-6726825d.pth",
    "torch_fidelity.FeatureExtractorInceptionV3('inception', ['2048'])",
)


class Lpips(Metric):
    """``lpips``, the mean over the images, and ``lpips_network``.

    Zhang et al. 2018, arXiv:1801.03924, eq. 1.

    Args:
        weights: of the network's convolutions. Its linear layers come with torchmetrics.
        shape: of an image.
        value_range: of the data; decoded values are clipped to it.
        device: of the images.

    Raises:
        UsageError: if torchmetrics is not installed.
        SettingError: if the file is not such a file, or the images are too small for the network.
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
        self.range = value_range
        self.samples = 0
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        blank = torch.zeros(1, 3, *shape[1:], device=device)
        try:
            self.network(blank, blank)
        except RuntimeError as error:  # a layer without any output left
            expected = f"a network that takes images of {shape[1]} x {shape[2]}"
            expected += f"; {self.name} does not ({error})"
            raise SettingError("--lpips", str(weights), expected, "leave it out") from error

    @torch.no_grad()
    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        images = (_rgb(values, self.range) * 2 - 1 for values in (x, reconstruction))
        self.total += self.network(*images).double().sum()
        self.samples += len(x)

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        return {"lpips": float(self.total) / self.samples, "lpips_network": self.name}


class Fid(Metric):
    """``fid`` of all reconstructions against all samples (rFID).

    Heusel et al. 2017, arXiv:1706.08500, eq. 6.

    Args:
        weights: of Inception v3, as torch-fidelity saves them.
        value_range: of the data; decoded values are clipped to it. Both are rounded to bytes.
        device: of the images.

    Raises:
        UsageError: if torchmetrics or torch-fidelity is not installed.
        SettingError: if the file is not such a file.
    """

    def __init__(
        self, weights: Path, value_range: tuple[float, float], device: torch.device
    ) -> None:
        require(EXTRA, "--fid", "torchmetrics", "torch_fidelity")
        from torchmetrics.image.fid import FrechetInceptionDistance

        # Read first, since this refuses everything but plain tensors.
        entries = _FID_FILE.read(weights)
        try:
            metric = FrechetInceptionDistance(feature_extractor_weights_path=str(weights))
        except RuntimeError as error:
            raise _FID_FILE.other(weights, entries) from error
        self.metric = metric.to(device)
        self.range = value_range

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        for values, real in ((x, True), (reconstruction, False)):
            pixels = (_rgb(values, self.range) * 255).round().byte()
            self.metric.update(pixels, real=real)

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        return {"fid": float(self.metric.compute())}


def _rgb(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Images (B, C, H, W) of 1 or 3 channels as three, scaled to [0, 1] and clipped."""
    low, high = value_range
    return ((images - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)


def _lpips_network(weights: Path) -> tuple[str, nn.Module]:
    from torchmetrics.functional.image.lpips import _LPIPS

    entries = _LPIPS_FILE.read(weights)
    shapes = {name: tuple(value.shape) for name, value in entries.items()}
    name = next((name for name, (key, shape) in NETWORKS.items() if shapes.get(key) == shape), None)
    if name is None:
        raise _LPIPS_FILE.other(weights, entries)
    # Random weights instead of downloaded ones, replaced by the file's below.
    network = _LPIPS(net=name, pnet_rand=True)
    named = {key: SLICE.sub("features.", key) for key in network.net.state_dict()}
    try:
        network.net.load_state_dict({key: entries[source] for key, source in named.items()})
    except (KeyError, RuntimeError) as error:
        raise _LPIPS_FILE.other(weights, entries) from error
    return name, network.eval().requires_grad_(False)
