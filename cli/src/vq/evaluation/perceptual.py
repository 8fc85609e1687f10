"""LPIPS and FID of reconstructions, with network weights from local files."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vq.evaluation.metric import Metric
from vq.optional_dependencies import require
from vqcore.distributed import sum_over_ranks
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
    """A file of weights: what it should hold, and the call that downloads it.

    ``option`` is the one that names a file.
    """

    content: str
    call: str

    def check_there(self, path: Path, option: str) -> None:
        """Refuse a path where no file is."""
        if not path.is_file():
            raise self.error(path, option, "there is no such file")

    def read(self, path: Path, option: str) -> dict[str, Tensor]:
        """The tensors in the file, by name."""
        self.check_there(path, option)
        try:
            entries = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise self.error(path, option, "found no weights") from error
        named = isinstance(entries, dict)
        if not named or not all(isinstance(value, Tensor) for value in entries.values()):
            raise self.error(path, option, "found no weights")
        return entries

    def other(self, path: Path, option: str, entries: dict[str, Tensor]) -> SettingError:
        """The error for a file that holds another network."""
        return self.error(path, option, f"found {len(entries)} tensors of another network")

    def error(self, path: Path, option: str, found: str) -> SettingError:
        """The error for a file that does not hold the weights."""
        saves = f"{self.call} saves it in the folder checkpoints below torch.hub.get_dir()"
        expected = f"a file with {self.content}; {found}"
        fix = f"on a machine with a network, {saves}"
        return SettingError(option, str(path), expected, fix)


_LPIPS_FILE = _WeightsFile(
    "torchvision's ImageNet weights of AlexNet, VGG16 or SqueezeNet 1.1, "
    "as in alexnet-owt-7be5be79.pth",
    "torchvision.models.alexnet(weights='IMAGENET1K_V1')",
)
_FID_FILE = _WeightsFile(
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
        option: that names the file, for messages.

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
        option: str = "--lpips",
    ) -> None:
        require(EXTRA, option, "torchmetrics", "torchvision")
        self.name, self.network = _lpips_network(weights, option)
        self.network.to(device)
        self.range = value_range
        #: of the distances, and of the images.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        blank = torch.zeros(1, 3, *shape[1:], device=device)
        try:
            self.network(blank, blank)
        except RuntimeError as error:  # a layer without any output left
            expected = f"a network that takes images of {shape[1]} x {shape[2]}"
            expected += f"; {self.name} does not ({error})"
            raise SettingError(option, str(weights), expected, "leave it out") from error

    @torch.no_grad()
    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        images = (_rgb(values, self.range) * 2 - 1 for values in (x, reconstruction))
        self.sums[0] += self.network(*images).double().sum()
        self.sums[1] += len(x)

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        sum_over_ranks(self.sums)
        total, images = self.sums.tolist()
        self.sums.zero_()
        return {"lpips": total / images, "lpips_network": self.name}


class Fid(Metric):
    """``fid`` of all reconstructions against all samples (rFID).

    Heusel et al. 2017, arXiv:1706.08500, eq. 6.

    Args:
        weights: of Inception v3, as torch-fidelity saves them.
        value_range: of the data; decoded values are clipped to it. Both are rounded to bytes.
        device: of the images.
        option: that names the file, for messages.

    Raises:
        UsageError: if torchmetrics or torch-fidelity is not installed.
        SettingError: if the file is not such a file.
    """

    def __init__(
        self,
        weights: Path,
        value_range: tuple[float, float],
        device: torch.device,
        option: str = "--fid",
    ) -> None:
        require(EXTRA, option, "torchmetrics", "torch_fidelity")
        from torchmetrics.image.fid import FrechetInceptionDistance

        # Read first, since this refuses everything but plain tensors.
        entries = _FID_FILE.read(weights, option)
        try:
            metric = FrechetInceptionDistance(feature_extractor_weights_path=str(weights))
        except RuntimeError as error:
            raise _FID_FILE.other(weights, option, entries) from error
        self.metric = metric.to(device)
        self.range = value_range

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        for values, real in ((x, True), (reconstruction, False)):
            pixels = (_rgb(values, self.range) * 255).round().byte()
            self.metric.update(pixels, real=real)

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        distance = float(self.metric.compute())  # torchmetrics sums over the processes
        self.metric.reset()
        return {"fid": distance}


def perceptual_metrics(
    weights: Mapping[str, str | Path | None],
    shape: tuple[int, ...],
    value_range: tuple[float, float],
    device: torch.device,
) -> list[Metric]:
    """``Lpips`` and ``Fid``, each if an option names a file for it.

    Args:
        weights: the two options and their files, that of LPIPS first.
        shape, value_range: of the samples.
        device: of the images.

    Raises:
        SettingError: if the samples are not images, and as ``Lpips`` and ``Fid``.
    """
    metrics: list[Metric] = []
    for kind, (option, file) in zip((Lpips, Fid), weights.items(), strict=True):
        if file is None:
            continue
        if len(shape) != 3 or shape[0] not in (1, 3):
            expected = f"a run on images; its samples have shape {shape}"
            raise SettingError(option, str(file), expected, "leave it out")
        arguments = (shape, value_range) if kind is Lpips else (value_range,)
        metrics.append(kind(Path(file), *arguments, device, option))
    return metrics


def check_weights(weights: Mapping[str, str | None]) -> None:
    """Refuse files of ``perceptual_metrics`` that are not there, before anything else is done.

    Raises:
        SettingError: naming the option, the file and how to get one.
    """
    for file, (option, path) in zip((_LPIPS_FILE, _FID_FILE), weights.items(), strict=True):
        if path is not None:
            file.check_there(Path(path), option)


def _rgb(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Images (B, C, H, W) of 1 or 3 channels as three, scaled to [0, 1] and clipped."""
    low, high = value_range
    return ((images - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)


def _lpips_network(weights: Path, option: str) -> tuple[str, nn.Module]:
    from torchmetrics.functional.image.lpips import _LPIPS

    entries = _LPIPS_FILE.read(weights, option)
    shapes = {name: tuple(value.shape) for name, value in entries.items()}
    name = next((name for name, (key, shape) in NETWORKS.items() if shapes.get(key) == shape), None)
    if name is None:
        raise _LPIPS_FILE.other(weights, option, entries)
    # Random weights instead of downloaded ones, replaced by the file's below.
    network = _LPIPS(net=name, pnet_rand=True)
    named = {key: SLICE.sub("features.", key) for key in network.net.state_dict()}
    try:
        network.net.load_state_dict({key: entries[source] for key, source in named.items()})
    except (KeyError, RuntimeError) as error:
        raise _LPIPS_FILE.other(weights, option, entries) from error
    return name, network.eval().requires_grad_(False)
