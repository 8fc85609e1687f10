"""Files of anybody's as samples that a trained model takes: what ``vq encode RUN PATH`` reads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vq.data.array_files import ArrayFiles, Layout, as_samples, extremes
from vq.data.pictures import ENDINGS, PictureFiles, find_pictures, unreadable
from vq.data.splits import ArraySplit, FileSplit, rescale
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec, Split

_ARRAYS = (".npy", ".npz")
_BYTES = (0.0, 255.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What was found at a path.

    Attributes:
        split: the samples, in the order of ``names``; its range of values is the model's.
        names: of each sample: the file's path relative to the folder, or the row's number.
        skipped: broken files by relative path, each with the reason.
    """

    split: Split
    names: list[str]
    skipped: dict[str, str] = field(default_factory=dict)


def read_samples(
    path: Path,
    samples: SampleSpec,
    *,
    key: str | None = None,
    layout: Layout = "auto",
    workers: int = 2,
) -> Inputs:
    """Samples for a model, from a folder of pictures, one picture, a .npy or a .npz file.

    Pictures of any size and mode become what the model takes: the middle part of its proportions, scaled, grey or
    RGB. Rows of arrays must have the model's shape already. Bytes fill the model's range of values; truth values are
    its ends; floats are read in the units that the model's own data was stored in.

    Args:
        path: of the file or folder.
        samples: what the model takes.
        key: of the array in a .npz file; ``x`` or the only one where it is left out.
        layout: where the channels of pictures in arrays are.
        workers: processes that read pictures ahead.

    Raises:
        SettingError: if nothing there can be read, or does not fit the model; a single broken picture is an error,
            one in a folder is skipped.
    """
    path = path.expanduser()
    if not path.exists():
        raise _unusable(
            path, "a folder of pictures, a picture, a .npy or a .npz file, but nothing is there"
        )
    if path.suffix.lower() in _ARRAYS and path.is_file():
        return _rows(path, samples, key, layout)
    return _pictures(path, samples, workers)


def _pictures(path: Path, samples: SampleSpec, workers: int) -> Inputs:
    if len(samples.shape) != 3 or samples.shape[0] not in (1, 3):
        expected = f"a .npy or .npz file, for the model takes samples of shape {samples.shape}"
        raise _unusable(path, expected + " and no pictures")
    root, found = (path, _found(path)) if path.is_dir() else (path.parent, [path])
    broken = unreadable(found)
    if len(broken) == len(found):
        kinds = ", ".join(sorted(ending[1:] for ending in ENDINGS))
        how = (
            f"none of {len(found)} can be read ({next(iter(broken.values()))})"
            if broken
            else "there are none"
        )
        raise _unusable(path, f"pictures ({kinds}), or a .npy or .npz file, but {how}")
    good = [file for file in found if file not in broken]
    split = FileSplit(PictureFiles(good, samples.shape), workers, convert=_from(_BYTES, samples))
    skipped = {file.relative_to(root).as_posix(): reason for file, reason in broken.items()}
    return Inputs(split, [file.relative_to(root).as_posix() for file in good], skipped)


def _found(folder: Path) -> list[Path]:
    try:
        return find_pictures(folder)
    except OSError as error:
        raise _unusable(folder, f"a folder that can be listed ({error})") from error


def _rows(path: Path, samples: SampleSpec, key: str | None, layout: Layout) -> Inputs:
    try:
        arrays = ArrayFiles(path)
        rows = as_samples(arrays[_key(arrays, key)], layout)
        if tuple(rows.shape[1:]) != samples.shape:
            raise ValueError(
                f"rows of shape {samples.shape} expected, {tuple(rows.shape[1:])} found"
            )
        stored = _stored(rows, samples)
    except ValueError as error:
        raise _unusable(path, f"samples that the model takes: {error}") from error
    split = ArraySplit(rows, convert=_from(stored, samples))
    return Inputs(split, [str(row) for row in range(len(rows))])


def _key(arrays: ArrayFiles, key: str | None) -> str:
    names = list(arrays)
    if key is None and len(names) == 1:
        return names[0]
    if (key or "x") not in names:
        raise ValueError(
            f"an array named {key or 'x'} expected, found: {', '.join(names) or 'none'}"
        )
    return key or "x"


def _stored(rows: Tensor, samples: SampleSpec) -> tuple[float, float]:
    """The stored values that stand for the ends of the model's range."""
    if rows.dtype == torch.uint8:
        return _BYTES
    if rows.dtype == torch.bool:
        return 0.0, 1.0
    low, high = samples.stored_range or samples.value_range
    smallest, largest = extremes(rows)
    slack = 0.5 * (high - low)  # held-out data may go a little beyond what was seen in training
    if smallest < low - slack or largest > high + slack:
        raise ValueError(
            f"values between {low:g} and {high:g} expected, {smallest:g} to {largest:g} found"
        )
    if low < 0 <= smallest and largest <= 1 < high - low:
        _log.warning(
            "values from %g to %g: the model was trained on %g to %g", smallest, largest, low, high
        )
    return low, high


def _from(stored: tuple[float, float], samples: SampleSpec) -> Callable[[Tensor], Tensor]:
    return partial(rescale, stored=stored, served=samples.value_range)


def _unusable(path: Path, expected: str) -> SettingError:
    return SettingError("PATH", str(path), expected)
