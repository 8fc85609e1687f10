"""NumPy's files, .npy and .npz, as tensors of samples: vectors (N, F) or images (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vq.files import check_regular
from vqcore.errors import describe_error

Layout = Literal["auto", "NCHW", "NHWC"]
ReadArray = Callable[[], np.ndarray]
#: Numbers of channels by which layout ``auto`` finds their axis: grey and RGB.
_CHANNELS = (1, 3)
#: Values read at a time in the search for the extremes.
_BLOCK = 2**22


def open_arrays(path: Path) -> dict[str, ReadArray]:
    """A reader for each array of a .npz file, a folder of .npy files (by stem), or a .npy file
    (as ``x``).

    .npy files are memory-mapped. Files of pickled objects are refused.

    Raises:
        ValueError: here or by a reader, if a file cannot be read.
    """
    if path.is_dir():
        return {file.stem: partial(_mapped, file) for file in sorted(path.glob("*.npy"))}
    if path.suffix.lower() == ".npy":
        return {"x": partial(_mapped, path)}
    if path.suffix.lower() != ".npz":
        raise ValueError("it is no .npy file, .npz file, or folder of .npy files")
    archive = _guarded(path, lambda: np.load(path, allow_pickle=False))
    return {
        name: partial(_guarded, path, partial(archive.__getitem__, name)) for name in archive.files
    }


def _mapped(file: Path) -> np.ndarray:
    # copy-on-write ("c"): torch warns about arrays that are not writable
    array = _guarded(file, lambda: np.load(file, mmap_mode="c", allow_pickle=False))
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{file} is no .npy file despite its name")
    return array


def _guarded(path: Path, load: Callable[[], Any]) -> Any:
    try:
        check_regular(path)
        return load()
    except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
        raise ValueError(f"{path} cannot be read: {describe_error(error)}") from error


def as_samples(
    array: np.ndarray, layout: Layout = "auto", shape: tuple[int, ...] | None = None
) -> Tensor:
    """Samples (N, F) or (N, C, H, W), sharing the array's memory where possible.

    Args:
        array: vectors (N, F), grey images (N, H, W), or images (N, C, H, W) or (N, H, W, C).
        layout: of images; ``auto`` takes the axis of length 1 or 3 as the channels, the second
            axis before the last.
        shape: of a sample, where it is known: with layout ``auto``, rows that have it are taken
            as they are, such as signals (C, T).

    Raises:
        ValueError: for any other shape or dtype.
    """
    native = array.dtype.newbyteorder("=")
    if native not in (np.uint8, np.bool_, np.float16, np.float32, np.float64):
        fix = "convert with .astype(np.float32)"
        raise ValueError(f"uint8, bool or float values expected, {native} found; {fix}")
    as_they_are = layout == "auto" and array.shape[1:] == shape
    if 0 in array.shape or not (as_they_are or array.ndim in (2, 3, 4)):
        shapes = "(N, F), (N, H, W), (N, C, H, W) or (N, H, W, C)"
        raise ValueError(f"an array of shape {shapes} expected, {array.shape} found")
    samples = torch.from_numpy(array.astype(native, copy=False))
    if as_they_are:
        return samples
    if samples.ndim == 3:
        return samples.unsqueeze(1)
    if samples.ndim == 4 and _is_channels_last(array.shape, layout):
        return samples.permute(0, 3, 1, 2)
    return samples


def _is_channels_last(shape: tuple[int, ...], layout: Layout) -> bool:
    if layout != "auto":
        return layout == "NHWC"
    if shape[1] in _CHANNELS:
        return False
    if shape[3] in _CHANNELS:
        return True
    raise ValueError(
        f"1 or 3 channels expected on the second or last axis of {shape}; "
        "for other numbers set the layout to NCHW or NHWC"
    )


def extremes(samples: Tensor) -> tuple[float, float]:
    """The smallest and largest value, read block by block.

    Raises:
        ValueError: if there is a NaN or an infinity.
    """
    rows = max(1, _BLOCK // max(1, samples[0].numel()))
    pairs = torch.stack([torch.stack(block.aminmax()) for block in samples.split(rows)]).double()
    low, high = float(pairs[:, 0].min()), float(pairs[:, 1].max())
    for value in (low, high):
        if not np.isfinite(value):
            raise ValueError(f"finite values expected, {value} found")
    return low, high
