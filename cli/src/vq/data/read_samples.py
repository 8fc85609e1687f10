"""Reading any files as samples for a trained model, as ``vq encode RUN PATH`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vq.data.array_files import Layout, ReadArray, as_samples, extremes, open_arrays
from vq.data.arrays import LABELS_OF, labels_in, numbered
from vq.data.checked_images import broken_images
from vq.data.find_images import KINDS, find_images
from vq.data.folder_classes import class_names, class_numbers
from vq.data.image_files import ImageFiles
from vq.data.recordings import segmenter_for
from vq.data.segments import Segmenter, SegmentSplit, cut, name_of, segments_of
from vq.data.skipping import without_skipping
from vq.files import plain_path
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.tensor_split import TensorSplit, rescale
from vqcore.errors import SettingError, UsageError, printable
from vqcore.interfaces.dataset import SampleSpec, Split

_BYTES = (0.0, 255.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """The samples found at a path.

    Attributes:
        split: the samples, in the order of ``names`` and in the model's value range.
        names: of each sample: the file's path relative to the folder, or the row number.
        skipped: files left out by relative path, with the reason.
        classes: names of the classes that the split's labels number, or None.
    """

    split: Split
    names: list[str]
    skipped: dict[str, str] = field(default_factory=dict)
    classes: Sequence[str] | None = None


def read_samples(
    path: Path,
    samples: SampleSpec,
    *,
    key: str | None = None,
    layout: Layout = "auto",
    workers: int | None = None,
) -> Inputs:
    """Samples for a model, from a folder of images, an image, a .npy or a .npz file.

    A model of audio reads audio files, a model of video folders of frames, as in training.
    Images of any size and mode are centre-cropped to the model's proportions, resized, and
    converted to grey or RGB; their classes are the topmost folders. Rows of arrays must have the
    model's shape. uint8 and bool are mapped to the model's value range; floats are read in the
    units in which its own data was stored. ``y`` beside ``x`` has their classes.

    Args:
        path: of the file or folder.
        samples: what the model takes.
        key: of the array in a .npz file; None: ``x`` or the only one.
        layout: of images in arrays.
        workers: processes that read images ahead; None: by the number of cores.

    Raises:
        SettingError: if nothing can be read or it does not fit the model. A broken image in a
            folder is skipped; a single broken image is an error.
    """
    path = path.expanduser()
    if not path.exists():
        expected = "a folder of images, an image, a .npy or a .npz file, but nothing is there"
        raise _error(path, expected)
    if path.suffix.lower() in (".npy", ".npz") and path.is_file():
        return _rows(path, samples, key, layout)
    if segmenter := segmenter_for(samples):
        return _recordings(path, segmenter, workers)
    return _images(path, samples, workers)


def _images(path: Path, samples: SampleSpec, workers: int | None) -> Inputs:
    if len(samples.shape) != 3 or samples.shape[0] not in (1, 3):
        takes = f"since the model takes samples of shape {samples.shape}, not images"
        raise _error(path, f"a .npy or .npz file, {takes}")
    root, found, beside = path.parent, [path.name], ""
    if path.is_dir():
        try:
            listed = find_images(path)
        except OSError as error:
            raise _error(path, f"a folder that can be listed ({error})") from error
        root, found, beside = path, listed.images, listed.beside()
    names, skipped = _named(found)
    broken = broken_images(root, names)
    skipped |= broken
    good = [name for name in names if name not in broken]
    if not good:
        problem = f"there are none{beside}"
        if skipped:
            problem = f"none of {len(found)} can be read ({next(iter(skipped.values()))})"
        raise _error(path, f"images ({KINDS}), or a .npy or .npz file, but {problem}")
    if beside:
        _log.warning("%s: %d images%s", path, len(found), beside)
    classes = class_names(good)
    labels, convert = class_numbers(good, classes), _from(_BYTES, samples)
    split = DatasetSplit(ImageFiles(good, samples.shape, root), workers, labels, convert)
    return Inputs(split, good, skipped, classes)


def _recordings(path: Path, segmenter: Segmenter, workers: int | None) -> Inputs:
    root, found = path.parent, [path]
    if path.is_dir():
        try:
            found = segmenter.find(path)
        except OSError as error:
            raise _error(path, f"a folder that can be listed ({error})") from error
        if path not in found:  # else it is a recording itself, a folder of frames
            root = path
    names, skipped = _named([file.relative_to(root).as_posix() for file in found])
    done = cut(segmenter, root, [root / name for name in names])
    skipped |= done.skipped
    if not done.counts:
        problem = next(iter(skipped.values()), "there are none")
        raise _error(path, f"{segmenter.kinds}, or a .npy or .npz file, but {problem}")
    classes = class_names(name_of(recording, root) for recording in done.counts)
    split = SegmentSplit(segmenter, segments_of(done.counts), root, classes, workers)
    return Inputs(without_skipping(split), list(split.names or ()), skipped, classes)


def _named(found: list[str]) -> tuple[list[str], dict[str, str]]:
    """The names that can be written down, and the others with the reason."""
    odd = "a name with a backslash, a control character, or no UTF-8"
    names = [name for name in found if is_plain(name)]
    return names, {printable(name): odd for name in sorted(set(found) - set(names))}


def is_plain(name: str) -> bool:
    """Whether a relative path can be written down as text, and read on any system."""
    try:
        name.encode()  # fails for bytes that are no UTF-8
        plain_path(name, "name")
    except (UnicodeEncodeError, UsageError):
        return False
    return True


def _rows(path: Path, samples: SampleSpec, key: str | None, layout: Layout) -> Inputs:
    try:
        arrays = open_arrays(path)
        key = _key(list(arrays), key)
        rows = as_samples(arrays[key](), layout, samples.shape)
        shape = tuple(rows.shape[1:])
        if shape != samples.shape:
            raise ValueError(f"rows of shape {samples.shape} expected, {shape} found")
        stored = _stored_range(rows, samples)
    except ValueError as error:
        raise _error(path, f"samples that the model takes: {error}") from error
    labels, classes = _classes_of_rows(path, arrays, key, len(rows))
    split = TensorSplit(rows, labels, _from(stored, samples))
    return Inputs(split, [str(row) for row in range(len(rows))], classes=classes)


def _classes_of_rows(
    path: Path, arrays: dict[str, ReadArray], key: str, count: int
) -> tuple[Tensor | None, Sequence[str] | None]:
    """The class of each row and the names of the classes, where the file has usable ones."""
    try:
        (labels,), classes = numbered([labels_in(arrays, LABELS_OF.get(key, "y"), count)])
    except ValueError as error:
        _log.warning("%s: rows have no classes: %s", path, error)
        return None, None
    return labels, classes


def _key(names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    key = key or "x"
    if key not in names:
        found = ", ".join(names) or "none"
        raise ValueError(f"an array named {key} expected, found: {found}")
    return key


def _stored_range(rows: Tensor, samples: SampleSpec) -> tuple[float, float]:
    """The stored values that are mapped to the ends of the model's range."""
    if rows.dtype == torch.uint8:
        return _BYTES
    if rows.dtype == torch.bool:
        return 0.0, 1.0
    low, high = samples.stored_range or samples.value_range
    smallest, largest = extremes(rows)
    slack = 0.5 * (high - low)  # held-out data may exceed the range of the training data a little
    if smallest < low - slack or largest > high + slack:
        found = f"{smallest:g} to {largest:g} found"
        raise ValueError(f"values between {low:g} and {high:g} expected, {found}")
    if low < 0 <= smallest and largest <= 1 < high - low:
        text = "values from %g to %g: the model was trained on %g to %g"
        _log.warning(text, smallest, largest, low, high)
    return low, high


def _from(stored: tuple[float, float], samples: SampleSpec) -> Callable[[Tensor], Tensor]:
    return partial(rescale, stored=stored, served=samples.value_range)


def _error(path: Path, expected: str) -> SettingError:
    return SettingError("PATH", str(path), expected)
