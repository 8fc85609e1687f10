"""Your own images or vectors, in NumPy's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from vq.data.array_files import Layout, ReadArray, as_samples, extremes, open_arrays
from vqcore.data.image_source import Augmentation, ImageSource, check_shift
from vqcore.data.partition import train_test_indices
from vqcore.data.tensor_split import SubsetSplit, TensorSplit, rescale, to_float
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import Split

#: Names of the arrays of both splits; the first pair that is there is read.
_PAIRS = (("train", "test"), ("x_train", "x_test"))
_LABELS = ("y_train", "y_test")
#: The array of labels that belongs to an array of samples.
LABELS_OF = {name: label for pair in _PAIRS for name, label in zip(pair, _LABELS, strict=True)}
#: Limit of the number of classes; larger integers are measurements, not labels.
_CLASSES = 100_000
_FORMS = "a .npz file, a .npy file, or a folder of .npy files"


class Arrays(ImageSource):
    """The rows of ``train`` and ``test`` (or ``x_train`` and ``x_test``), or a partition of ``x``.

    Rows are images (H, W), (C, H, W) or (H, W, C), or vectors (F,). uint8 is served in [-1, 1].
    Floats are mapped to [-1, 1] from ``range`` or from the extremes of ``train`` or ``x``, which
    data.json records as ``stored_range``. Bool is served as 0 and 1 and reconstructed as
    probabilities. Labels are ``y_train`` and ``y_test``, or ``y``: whole numbers from 0, or names.
    For the options see ``ArraysConfig``.
    """

    def __init__(
        self,
        *,
        root: str = "data/arrays.npz",
        layout: Layout = "auto",
        range: tuple[float, float] | None = None,
        held_out: float = 0.1,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        if range is not None and not range[0] < range[1]:
            raise SettingError("range", list(range), "the smaller number first")
        self.root, self.layout, self.range, self.held_out = root, layout, range, held_out
        super().__init__(None, **augmentation)

    def split(self, name: Literal["train", "test"]) -> Split:
        """Rows in their order and stored dtype."""
        number = ("train", "test").index(name)
        if len(self._splits) == 2:
            return self._splits[number]
        (whole,) = self._splits
        return SubsetSplit(whole, train_test_indices(len(whole), self.held_out)[number])

    @cached_property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # known once the file is read
        """Of a row: (C, H, W) or (F,)."""
        shape = tuple(self._rows[0].shape[1:])
        asked = {"flip": self.flip, "shift": self.shift, "crop": self.crop.kind}
        for option, value in asked.items():
            if len(shape) == 1 and value not in (False, 0, "center"):
                expected = "unset, since rows are vectors, not images"
                raise SettingError(f"dataset.{option}", value, expected)
        if self.shift:
            check_shift(shape, self.shift, "dataset.shift")
        return shape

    @property
    def value_range(self) -> tuple[float, float]:  # type: ignore[override]
        """Of the values served."""
        return (0.0, 1.0) if self._is_bool else (-1.0, 1.0)

    @property
    def likelihood(self) -> Literal["gaussian", "bernoulli"]:  # type: ignore[override]
        """Bernoulli for bool, Gaussian for other dtypes."""
        return "bernoulli" if self._is_bool else "gaussian"

    @cached_property
    def stored_range(self) -> tuple[float, float] | None:  # type: ignore[override]
        """The floats served as -1 and 1; None for other dtypes."""
        rows = self._rows[0]
        if not rows.is_floating_point():
            return None
        if self.range:
            return self.range
        with self._errors_of_root():
            low, high = extremes(rows)
            if low == high:
                raise ValueError(f"rows that differ expected, every value is {low:g}")
        return low, high

    @property
    def classes(self) -> Sequence[str] | None:  # type: ignore[override]
        """The names that are labels, or the numbers as text."""
        return self._labels[1]

    @property
    def _is_bool(self) -> bool:
        return self._rows[0].dtype == torch.bool

    @cached_property
    def _splits(self) -> list[TensorSplit]:
        labels, _ = self._labels
        convert = partial(rescale, stored=self.stored_range) if self.stored_range else to_float
        return [TensorSplit(rows, y, convert) for rows, y in zip(self._rows, labels, strict=True)]

    @cached_property
    def _files(self) -> dict[str, ReadArray]:
        path = Path(self.root).expanduser()
        if not path.exists():
            fix = "name another with --set dataset.root=PATH, or in the config.yaml of a run"
            raise SettingError("dataset.root", self.root, f"{_FORMS}, but nothing is there", fix)
        with self._errors_of_root():
            return open_arrays(path)

    @cached_property
    def _names(self) -> list[str]:
        """Of the arrays of samples: two, or one to partition."""
        found = [name for name in self._files if name not in ("y", *_LABELS)]
        for pair in _PAIRS:
            if set(pair) <= set(found):
                return list(pair)
        if "x" in found:
            return ["x"]
        if len(found) == 1 and not any(found[0] in pair for pair in _PAIRS):
            return found
        listed = ", ".join(self._files) or "none"
        expected = f"arrays named train and test, x_train and x_test, or x, found: {listed}"
        raise SettingError("dataset.root", self.root, expected)

    @cached_property
    def _rows(self) -> list[Tensor]:
        """(N, F) or (N, C, H, W), one for each of the names."""
        with self._errors_of_root():
            rows = [self._read(name) for name in self._names]
            if len(rows) == 1 and len(rows[0]) < 2:
                raise ValueError(f"two or more rows of {self._names[0]} expected, 1 found")
            kinds = [f"{tuple(each.shape[1:])} of {str(each.dtype)[6:]}" for each in rows]
            if len(set(kinds)) > 1:
                found = " and ".join(kinds)
                raise ValueError(f"rows of one shape and type expected, {found} found")
        return rows

    def _read(self, name: str) -> Tensor:
        try:
            return as_samples(self._files[name](), self.layout)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @cached_property
    def _labels(self) -> tuple[list[Tensor | None], list[str] | None]:
        """The labels of each array of samples, and the names of the classes."""
        keys = _LABELS if len(self._names) == 2 else ("y",)
        pairs = zip(keys, self._rows, strict=True)
        with self._errors_of_root():
            return numbered([labels_in(self._files, key, len(rows)) for key, rows in pairs])

    @contextmanager
    def _errors_of_root(self) -> Iterator[None]:
        try:
            yield
        except SettingError:
            raise
        except ValueError as error:
            expected = f"arrays that can be used: {error}"
            raise SettingError("dataset.root", self.root, expected) from error


def labels_in(arrays: Mapping[str, ReadArray], key: str, count: int) -> np.ndarray | None:
    """The labels (count,) that files hold under a name; None if there are none.

    Raises:
        ValueError: if they are of another shape.
    """
    if key not in arrays:
        return None
    labels = arrays[key]()
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(f"{key} of shape ({count},) expected, {labels.shape} found")
    return labels.reshape(-1)


def numbered(labels: Sequence[np.ndarray | None]) -> tuple[list[Tensor | None], list[str] | None]:
    """Labels (whole numbers from 0, or names) as class numbers, and the names of the classes.

    Raises:
        ValueError: if they are anything else.
    """
    given = [y for y in labels if y is not None]
    if not given:
        return [None for _ in labels], None
    together = np.concatenate(given)
    if together.dtype.kind == "U":
        names, numbers = np.unique(together, return_inverse=True)
    elif together.dtype.kind in "iu" and together.min() >= 0 and together.max() < _CLASSES:
        names, numbers = np.arange(together.max() + 1), together
    else:
        limit = _CLASSES - 1
        raise ValueError(f"labels that are names or whole numbers from 0 to {limit} expected")
    parts = iter(np.split(numbers.astype(np.int64), np.cumsum([len(y) for y in given])[:-1]))
    tensors = [None if y is None else torch.from_numpy(next(parts).copy()) for y in labels]
    return tensors, [str(name) for name in names]
