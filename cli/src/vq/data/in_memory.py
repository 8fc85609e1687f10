"""Tensors and torch data sets as a data source."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vqcore.data.partition import train_test_indices
from vqcore.data.tensor_split import SubsetSplit, TensorSplit
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource, Split

#: Numbers of channels of grey, RGB and RGBA images.
CHANNELS = (1, 3, 4)
_READ_AS = "%s = %s is read as %s; if that is wrong, %s"
_log = logging.getLogger(__name__)


class InMemoryDataset(DataSource):
    """Samples that are Python objects.

    Bytes are served in [-1, 1], truth values as 0 and 1 with Bernoulli likelihood, floats as they
    are. A data set is read once; items are tensors, or pairs of a tensor and a class number.

    Args:
        train: a tensor (N, *shape) or a map-style torch ``Dataset``.
        test: the held-out samples, likewise; left out, a fixed part of ``train``.
        value_range: smallest and largest value of floats. Left out, it is (0, 1) or (-1, 1) where
            all values of ``train`` are in it, else their extremes.
        test_share: share of ``train`` that is held out where there is no ``test``. Which samples
            these are depends only on the number of samples.

    Raises:
        SettingError: if the samples cannot be used.
    """

    def __init__(
        self,
        train: Tensor | Dataset[Any],
        test: Tensor | Dataset[Any] | None = None,
        *,
        value_range: tuple[float, float] | None = None,
        test_share: float = 0.1,
    ) -> None:
        samples, labels = _read("dataset", train)
        self.shape = tuple(samples.shape[1:])
        self.likelihood = "bernoulli" if samples.dtype == torch.bool else "gaussian"
        self._given = value_range if value_range is not None else _fixed_range(samples)
        self.value_range = _checked(self._given or _detected(samples))
        names = getattr(train, "classes", None)
        if labels is not None:
            numbers = range(int(labels.max()) + 1)
            self.classes = [str(name) for name in (names or numbers)]
        self.described = f"{type(train).__name__} {tuple(samples.shape)} {str(samples.dtype)[6:]}"
        whole = TensorSplit(samples, labels)
        self._splits: Sequence[Split]
        if test is None:
            self._splits = [
                SubsetSplit(whole, rows) for rows in train_test_indices(len(whole), test_share)
            ]
        else:
            kept, kept_labels = _read("test_dataset", test)
            if kept.shape[1:] != samples.shape[1:] or kept.dtype != samples.dtype:
                expected = f"{samples.dtype} samples of shape {self.shape}, as in dataset"
                raise SettingError("test_dataset", _brief(kept), expected)
            self._splits = [whole, TensorSplit(kept, kept_labels)]

    def split(self, name: Literal["train", "test"]) -> Split:
        """See ``DataSource.split``."""
        return self._splits[("train", "test").index(name)]

    def restore(self, described: Mapping[str, Any]) -> None:
        """Use the range that the run was trained with, unless another one was given."""
        if self._given is None and "value_range" in described:
            low, high = described["value_range"]
            self.value_range = (low, high)


def _read(option: str, data: Any) -> tuple[Tensor, Tensor | None]:
    """The samples, and the class of each or None."""
    if isinstance(data, np.ndarray):
        fix = f"convert it: {option}=torch.from_numpy(array)"
        raise SettingError(option, f"{data.dtype} array {data.shape}", "a tensor", fix)
    samples, labels = (data, None) if isinstance(data, Tensor) else _stacked(option, data)
    if samples.ndim < 2 or len(samples) < 2 or samples.numel() == 0:
        raise SettingError(option, _brief(samples), "two or more samples, (N, C, H, W) or (N, F)")
    if not (samples.is_floating_point() or samples.dtype in (torch.uint8, torch.bool)):
        fix = "convert it, as in dataset.float()"
        raise SettingError(option, _brief(samples), "floats, uint8 or bool", fix)
    if samples.ndim == 4 and samples.shape[-1] in CHANNELS and samples.shape[1] not in CHANNELS:
        _question_layout(option, samples)
    if samples.ndim == 3 and samples.dtype == torch.uint8:
        read = f"{samples.shape[1]} channels of {samples.shape[2]} values"
        fix = f"give images a channel: {option}.unsqueeze(1)"
        _log.warning(_READ_AS, option, _brief(samples), read, fix)
    if not bool(samples.isfinite().all()):
        raise SettingError(option, _brief(samples), "finite values, found NaN or inf")
    return samples.detach(), labels


def _question_layout(option: str, samples: Tensor) -> None:
    """Refuse bytes (N, H, W, C), which are images; of other values, say how they are read."""
    fix = f"put the channels first: {option}.movedim(-1, 1)"
    if samples.dtype == torch.uint8:
        raise SettingError(option, _brief(samples), "images (N, C, H, W)", fix)
    _, channels, height, width = samples.shape
    read = f"{channels} channels of {height} x {width}"
    _log.warning(_READ_AS, option, _brief(samples), read, fix)


def _stacked(option: str, data: Any) -> tuple[Tensor, Tensor | None]:
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        expected = "a tensor, a torch Dataset with a length, or a vqcore.DataSource"
        raise SettingError(option, type(data).__name__, expected)
    items = [data[row] for row in range(len(data))]
    samples = [item[0] if isinstance(item, tuple | list) else item for item in items]
    if not samples or not all(isinstance(sample, Tensor) for sample in samples):
        expected = "items that are tensors, or pairs of a tensor and a class number"
        fix = "add a transform that gives tensors, as torchvision.transforms.ToTensor()"
        raise SettingError(option, type(data).__name__, expected, fix)
    if len({(sample.shape, sample.dtype) for sample in samples}) > 1:
        raise SettingError(option, type(data).__name__, "samples of one shape and type")
    labels = [item[1] for item in items if isinstance(item, tuple | list) and len(item) > 1]
    numbers = [int(label) for label in labels if _is_class_number(label)]
    return torch.stack(samples), torch.tensor(numbers) if len(numbers) == len(items) else None


def _is_class_number(label: Any) -> bool:
    if isinstance(label, Tensor):
        return label.ndim == 0 and not label.is_floating_point() and int(label) >= 0
    return isinstance(label, int) and label >= 0


def _fixed_range(samples: Tensor) -> tuple[float, float] | None:
    """The range in which values of this type are served; None for floats."""
    if samples.dtype == torch.uint8:
        return -1.0, 1.0
    return (0.0, 1.0) if samples.dtype == torch.bool else None


def _detected(samples: Tensor) -> tuple[float, float]:
    low, high = float(samples.min()), float(samples.max())
    if low < -1 or high > 1:
        if low == high:
            raise SettingError("dataset", _brief(samples), f"different values, found only {low:g}")
        return low, high
    return (-1.0, 1.0) if low < 0 else (0.0, 1.0)


def _checked(value_range: tuple[float, float]) -> tuple[float, float]:
    low, high = map(float, value_range)
    if not low < high:
        raise SettingError("value_range", (low, high), "the smaller number first")
    return low, high


def _brief(samples: Tensor) -> str:
    return f"{samples.dtype} {tuple(samples.shape)}"
