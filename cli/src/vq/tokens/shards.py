"""One file of indices: NumPy's .npz or .npy, or safetensors."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as to_safetensors

from vq.files import write_bytes
from vqcore.errors import RunError
from vqcore.plugin.loader import describe_error

#: Arrays of a shard: indices (n, *index_shape), and (n,) int64 labels where samples have classes.
INDICES, LABELS = "indices", "labels"
ENDINGS = (".npz", ".safetensors", ".npy")


def smallest_dtype(codebook_size: int) -> np.dtype:
    """The smallest integer type that holds 0 to ``codebook_size`` - 1; int64 from 2^32 codes on."""
    for dtype in (np.uint8, np.uint16, np.uint32):
        if codebook_size <= np.iinfo(dtype).max + 1:
            return np.dtype(dtype)
    return np.dtype(np.int64)


def write_shard(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of a shard atomically, in the format of the path's suffix.

    Raises:
        RunError: if it cannot be written.
    """
    if path.suffix == ".safetensors":
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        content = to_safetensors(contiguous)
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes them for flags
        content = buffer.getvalue()
    write_bytes(path, content)


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard. A single array of another name counts as ``indices``.

    Raises:
        RunError: if the file is damaged, or does not hold indices.
    """
    broken = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError)
    try:
        if path.suffix == ".safetensors":
            arrays = from_safetensors(path.read_bytes())
        else:
            with path.open("rb") as file:
                loaded = np.load(file, allow_pickle=False)
                is_archive = isinstance(loaded, np.lib.npyio.NpzFile)
                arrays = dict(loaded) if is_archive else {INDICES: loaded}
    except broken as error:
        text = f"{path}: damaged or not a file of indices: {describe_error(error)}"
        raise RunError(text) from error
    if INDICES not in arrays and len(arrays) == 1:
        arrays = {INDICES: next(iter(arrays.values()))}
    if INDICES not in arrays:
        found = ", ".join(arrays) or "none"
        raise RunError(f"{path}: expected an array named {INDICES}, found {found}")
    return arrays
