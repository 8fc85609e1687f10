"""LPIPS and FID of reconstructions, with network weights from local files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vq.evaluation.lpips_network import check_image_size, read_lpips_network
from vq.evaluation.metric import Metric
from vq.evaluation.weights_file import FID_FILE, LPIPS_FILE
from vq.optional_dependencies import require
from vqcore.distributed import sum_over_ranks
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.output import Output

EXTRA = "perceptual"


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
        self.name, self.network = read_lpips_network(weights, option)
        check_image_size(self.network, self.name, shape[1:], option, str(weights))
        self.network.to(device)
        self.range = value_range
        #: of the distances, and of the images.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

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
        entries = FID_FILE.read(weights, option)
        try:
            metric = FrechetInceptionDistance(feature_extractor_weights_path=str(weights))
        except RuntimeError as error:
            raise FID_FILE.other(weights, option, entries) from error
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
    weights: Mapping[str, str | Path | None], samples: SampleSpec, device: torch.device
) -> list[Metric]:
    """``Lpips`` and ``Fid``, each if an option names a file for it.

    Args:
        weights: the two options and their files, that of LPIPS first.
        samples: what the model reconstructs.
        device: of the images.

    Raises:
        SettingError: if these are not images, and as ``Lpips`` and ``Fid``.
    """
    metrics: list[Metric] = []
    shape, value_range = samples.shape, samples.value_range
    for kind, (option, file) in zip((Lpips, Fid), weights.items(), strict=True):
        if file is None:
            continue
        if samples.likelihood == "categorical":
            expected = "a model that reconstructs images; this one tells their classes"
            raise SettingError(option, str(file), expected, "leave it out")
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
    for file, (option, path) in zip((LPIPS_FILE, FID_FILE), weights.items(), strict=True):
        if path is not None:
            file.check_there(Path(path), option)


def _rgb(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Images (B, C, H, W) of 1 or 3 channels as three, scaled to [0, 1] and clipped."""
    low, high = value_range
    return ((images.float() - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)
