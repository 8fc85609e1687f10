"""NumPy's files, .npy and .npz, as tensors of samples: vectors (N, F) or pictures (N, C, H, W)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vqcore.plugin.loader import describe

Layout = Literal["auto", "NCHW", "NHWC"]
#: Channels by which a picture's layout is told where it is not given: grey and RGB.
_CHANNELS = (1, 3)
#: Values looked at in one go while the extremes of a file are sought.
_BLOCK = 2**22


class ArrayFiles(Mapping[str, np.ndarray]):
    """The arrays in a .npz file, in a folder of .npy files (by file name), or in one .npy file (named ``x``).

    A .npy file is mapped into memory: only what is asked for is read from disk.

    Args:
        path: of the file or folder.

    Raises:
        ValueError: here or on access, saying what is wrong with the file; pickled objects are never read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: Any = None
        self._files: dict[str, Path] = {}
        self._read: dict[str, np.ndarray] = {}
        if path.is_dir():
            self._files = {file.stem: file for file in sorted(path.glob("*.npy"))}
        elif path.suffix.lower() == ".npy":
            self._files = {"x": path}
        elif path.suffix.lower() == ".npz":
            self._archive = _guarded(path, lambda: np.load(path, allow_pickle=False))
        else:
            raise ValueError("it is no .npy file, .npz file, or folder of .npy files")

    def __iter__(self) -> Iterator[str]:
        return iter(self._files if self._archive is None else self._archive.files)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in list(self):
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> np.ndarray:
        if self._archive is not None:
            return _guarded(self.path, lambda: self._archive[name])
        file = self._files[name]  # "c": changes stay in memory, so that torch takes it for writable
        return _guarded(file, lambda: np.load(file, mmap_mode="c", allow_pickle=False))


def _guarded(path: Path, load: Any) -> Any:
    try:
        loaded = load()
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {describe(error)}") from error
    if path.suffix.lower() == ".npy" and not isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} is no .npy file, whatever its name says")
    return loaded


def as_samples(array: np.ndarray, layout: Layout = "auto") -> Tensor:
    """Samples (N, F) or (N, C, H, W) of an array, sharing its memory where that is possible.

    Args:
        array: vectors (N, F); grey pictures (N, H, W); pictures (N, C, H, W) or (N, H, W, C).
        layout: where the channels are; ``auto`` takes the axis of length 1 or 3, the second before the last.

    Raises:
        ValueError: for another shape or type of values.
    """
    native = array.dtype.newbyteorder("=")
    if native not in (np.uint8, np.bool_, np.float16, np.float32, np.float64):
        raise ValueError(
            f"uint8, bool or float values expected, {native} found; convert them with .astype(np.float32)"
        )
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        forms = "(N, F), (N, H, W), (N, C, H, W) or (N, H, W, C)"
        raise ValueError(f"an array of shape {forms} expected, {array.shape} found")
    samples = torch.from_numpy(array.astype(native, copy=False))
    if samples.ndim == 3:
        return samples.unsqueeze(1)
    return (
        samples.permute(0, 3, 1, 2)
        if samples.ndim == 4 and _channels_last(array.shape, layout)
        else samples
    )


def _channels_last(shape: tuple[int, ...], layout: Layout) -> bool:
    if layout != "auto":
        return layout == "NHWC"
    if shape[1] in _CHANNELS:
        return False
    if shape[3] in _CHANNELS:
        return True
    raise ValueError(
        f"1 or 3 channels expected in the second or last of {shape}, or a layout (NCHW or NHWC) that says"
    )


def extremes(samples: Tensor) -> tuple[float, float]:
    """Smallest and largest value, read block by block.

    Raises:
        ValueError: if there is a NaN or an infinity.
    """
    rows = max(1, _BLOCK // max(1, samples[0].numel()))
    pairs = torch.stack([torch.stack(block.aminmax()) for block in samples.split(rows)]).double()
    low, high = float(pairs[:, 0].min()), float(pairs[:, 1].max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"finite values expected, {low if not np.isfinite(low) else high} found")
    return low, high
