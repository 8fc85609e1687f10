"""Pictures or vectors of one's own, in NumPy's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vq.data.array_files import ArrayFiles, Layout, as_samples, extremes
from vq.data.augment import augment
from vq.data.partition import held_out
from vq.data.picture_source import check_shift
from vq.data.splits import ArraySplit, Subset, rescale, to_float
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource, Split

#: Names of the arrays of samples by split, the first pair that is there, and of their labels.
_PAIRS = (("train", "test"), ("x_train", "x_test"))
_LABELS = ("y_train", "y_test")
#: Largest number of classes: more are measurements, no labels.
_CLASSES = 100_000
_FORMS = "a .npz file, a .npy file, or a folder of .npy files"


class Arrays(DataSource):
    """The rows of ``train`` and ``test`` (or ``x_train`` and ``x_test``), or a fixed part of those of ``x`` held out.

    Rows are pictures (H, W), (C, H, W) or (H, W, C), or vectors (F,). Bytes are served in [-1, 1]. Floats are too:
    ``range``, or the extremes of ``train`` or ``x``, become its ends, and data.json keeps them as ``stored_range``.
    Truth values are served as 0 and 1 and reconstructed as probabilities. Labels, where there are any, are ``y_train``
    and ``y_test``, or ``y``: whole numbers from 0, or names. A .npy file is mapped into memory, never read whole.

    Args:
        root: a .npz file, a folder of .npy files, or one .npy file, whose array is ``x``.
        layout: where the channels of pictures are.
        range: of floats.
        held_out: share of the rows of ``x`` in the test split.
        flip, shift: see ``PictureSource``; for pictures alone.
    """

    def __init__(
        self,
        *,
        root: str = "data/arrays.npz",
        layout: Layout = "auto",
        range: tuple[float, float] | None = None,
        held_out: float = 0.1,
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        if range is not None and not range[0] < range[1]:
            raise SettingError("range", list(range), "the smaller number first")
        self.root, self.layout, self.range, self.held_out = root, layout, range, held_out
        self.flip, self.shift = flip, shift

    def split(self, name: Literal["train", "test"]) -> Split:
        """Rows in their order, of the type they are stored in."""
        number = ("train", "test").index(name)
        if len(self._splits) == 2:
            return self._splits[number]
        (whole,) = self._splits
        return Subset(whole, held_out(len(whole), self.held_out)[number])

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """See ``DataSource.augment``."""
        return augment(batch, key, positions, flip=self.flip, shift=self.shift)

    @cached_property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Of a row: (C, H, W) or (F,)."""
        shape = tuple(self._rows[0].shape[1:])
        if len(shape) == 1 and (self.flip or self.shift):
            option = "flip" if self.flip else "shift"
            raise SettingError(
                f"dataset.{option}",
                getattr(self, option),
                "none of it, for vectors are no pictures",
            )
        if self.shift:
            check_shift(shape, self.shift, "dataset.shift")
        return shape

    @property
    def value_range(self) -> tuple[float, float]:  # type: ignore[override]
        """Of what is served."""
        return (0.0, 1.0) if self._rows[0].dtype == torch.bool else (-1.0, 1.0)

    @property
    def likelihood(self) -> Literal["gaussian", "bernoulli"]:  # type: ignore[override]
        """Cross-entropy for truth values, squared error for all else."""
        return "bernoulli" if self._rows[0].dtype == torch.bool else "gaussian"

    @cached_property
    def stored_range(self) -> tuple[float, float] | None:  # type: ignore[override]
        """The floats that are served as -1 and 1; None where the rows are no floats."""
        rows = self._rows[0]
        if self.range or not rows.is_floating_point():
            return self.range if rows.is_floating_point() else None
        with self._explained():
            low, high = extremes(rows)
            if low == high:
                raise ValueError(f"rows that differ expected, every value is {low:g}")
        return low, high

    @property
    def classes(self) -> Sequence[str] | None:  # type: ignore[override]
        """The names that labels have, or their numbers."""
        return self._labels[1]

    @cached_property
    def _splits(self) -> list[ArraySplit]:
        labels, _ = self._labels
        convert = partial(rescale, stored=self.stored_range) if self.stored_range else to_float
        return [ArraySplit(rows, y, convert) for rows, y in zip(self._rows, labels, strict=True)]

    @cached_property
    def _files(self) -> ArrayFiles:
        path = Path(self.root).expanduser()
        if not path.exists():
            fix = "name another with --set dataset.root=PATH; of a run that has begun, in its config.yaml"
            raise SettingError("dataset.root", self.root, f"{_FORMS}, but nothing is there", fix)
        with self._explained():
            return ArrayFiles(path)

    @cached_property
    def _names(self) -> list[str]:
        """Of the arrays of samples: two, or one whose rows are parted."""
        found = [name for name in self._files if name not in ("y", *_LABELS)]
        pairs = [list(pair) for pair in _PAIRS if set(pair) <= set(found)]
        single = (
            ["x"]
            if "x" in found
            else found
            if len(found) == 1 and found[0] not in sum(_PAIRS, ())
            else None
        )
        names = pairs[0] if pairs else single
        if names is None:
            expected = "arrays named train and test, x_train and x_test, or x"
            raise SettingError(
                "dataset.root", self.root, f"{expected}, found: {', '.join(self._files) or 'none'}"
            )
        return names

    @cached_property
    def _rows(self) -> list[Tensor]:
        """(N, F) or (N, C, H, W), one for each of the names."""
        names = self._names
        with self._explained():
            rows = [
                _named(name, lambda name=name: as_samples(self._files[name], self.layout))
                for name in names
            ]
            if len(rows) == 1 and len(rows[0]) < 2:
                raise ValueError(f"two or more rows of {names[0]} expected, 1 found")
            kinds = [f"{tuple(each.shape[1:])} of {str(each.dtype)[6:]}" for each in rows]
            if len(set(kinds)) > 1:
                raise ValueError(
                    f"rows of one shape and type expected, {' and '.join(kinds)} found"
                )
        return rows

    @cached_property
    def _labels(self) -> tuple[list[Tensor | None], list[str] | None]:
        """For each of the names: the class numbers of its rows; then what the numbers mean."""
        keys = _LABELS if len(self._names) == 2 else ("y",)
        with self._explained():
            return numbered(
                [
                    self._labels_of(key, len(rows))
                    for key, rows in zip(keys, self._rows, strict=True)
                ]
            )

    def _labels_of(self, key: str, count: int) -> np.ndarray | None:
        if key not in self._files:
            return None
        labels = self._files[key]
        if labels.shape not in ((count,), (count, 1)):
            raise ValueError(f"{key} of shape ({count},) expected, {labels.shape} found")
        return labels.reshape(-1)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(
                "dataset.root", self.root, f"arrays that can be used: {error}"
            ) from error


def numbered(labels: Sequence[np.ndarray | None]) -> tuple[list[Tensor | None], list[str] | None]:
    """Labels, whole numbers from 0 or names, as class numbers, and the name of each class; None where there are none.

    Raises:
        ValueError: if they are something else.
    """
    known = [y for y in labels if y is not None]
    if not known:
        return list(labels), None
    together = np.concatenate(known)
    if together.dtype.kind == "U":
        names, numbers = np.unique(together, return_inverse=True)
    elif together.dtype.kind in "iu" and together.min() >= 0 and together.max() < _CLASSES:
        names, numbers = np.arange(together.max() + 1), together
    else:
        raise ValueError(
            f"labels that are names or whole numbers from 0 to {_CLASSES - 1} expected"
        )
    parts = iter(np.split(numbers.astype(np.int64), np.cumsum([len(y) for y in known])[:-1]))
    return [y if y is None else torch.from_numpy(next(parts).copy()) for y in labels], [
        str(name) for name in names
    ]


def _named(name: str, read: Callable[[], Tensor]) -> Tensor:
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
