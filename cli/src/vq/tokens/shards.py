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

from vq.runs.files import write_bytes
from vqcore.errors import RunError
from vqcore.plugin.loader import describe

#: Names of a shard's arrays: indices (n, *index_shape), and (n,) int64 where the classes of the samples are known.
INDICES, LABELS = "indices", "labels"
ENDINGS = (".npz", ".safetensors", ".npy")


def smallest_dtype(codebook_size: int) -> np.dtype:
    """The smallest integer type that holds 0 to ``codebook_size`` - 1; int64 from 2^32 codes on."""
    types = (np.uint8, np.uint16, np.uint32)
    return np.dtype(
        next((each for each in types if codebook_size <= np.iinfo(each).max + 1), np.int64)
    )


def write_shard(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of a shard, whole or not at all, in the format of the path's ending.

    Raises:
        RunError: if it cannot be written.
    """
    if path.suffix == ".safetensors":
        content = to_safetensors(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        )
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
    write_bytes(path, content)


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard; a .npy file and one without that name count as ``indices``.

    Raises:
        RunError: if the file is damaged, or is no file of indices.
    """
    try:
        if path.suffix == ".safetensors":
            arrays = from_safetensors(path.read_bytes())
        else:
            with path.open("rb") as file:
                loaded = np.load(file, allow_pickle=False)
                arrays = (
                    dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {INDICES: loaded}
                )
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        SafetensorError,
    ) as error:
        raise RunError(f"{path}: damaged or not a file of indices: {describe(error)}") from error
    if INDICES not in arrays and len(arrays) == 1:
        arrays = {INDICES: next(iter(arrays.values()))}
    if INDICES not in arrays:
        raise RunError(
            f"{path}: expected an array named {INDICES}, found {', '.join(arrays) or 'none'}"
        )
    return arrays
