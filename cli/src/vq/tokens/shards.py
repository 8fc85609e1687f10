"""One file of indices: NumPy's .npz or .npy, or safetensors. It may come from anyone."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as to_safetensors

from vq.files import read_bytes, write_bytes
from vq.tokens.manifest import NAME, Shard
from vqcore.errors import RunError, describe_error, shown

#: Arrays of a shard: indices (n, *index_shape), and (n,) int64 labels where samples have classes.
INDICES, LABELS = "indices", "labels"
ENDINGS = (".npz", ".safetensors", ".npy")
#: Limits on what is read: an array unpacked from a .npz file has at most so many times the file's
#: size, or so many bytes.
_RATIO, _LEAST = 100, 2**26
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def smallest_dtype(codebook_size: int) -> np.dtype:
    """The smallest integer type that holds 0 to ``codebook_size`` - 1; int64 from 2^32 codes on."""
    for dtype in (np.uint8, np.uint16, np.uint32):
        if codebook_size <= np.iinfo(dtype).max + 1:
            return np.dtype(dtype)
    return np.dtype(np.int64)


def write_shard(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write the arrays of a shard atomically, in the format of the path's suffix.

    Returns:
        The SHA-256 of the file.

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
    return hashlib.sha256(content).hexdigest()


def read_shard(path: Path) -> np.ndarray:
    """The indices in a file, of whatever shape and type; a single array of any name counts.

    Raises:
        RunError: if the file is damaged or does not hold indices.
    """
    return _indices_in(path, _content(path))


def read_listed(path: Path, shard: Shard, index_shape: Sequence[int]) -> np.ndarray:
    """The indices in a file that a manifest lists, checked against what that says.

    Raises:
        RunError: if the file is not the manifest's, or as ``read_shard``.
    """
    most = _LEAST + shard.samples * (1 + math.prod(index_shape)) * np.dtype(np.int64).itemsize
    content = _content(path, most)
    digest = hashlib.sha256(content).hexdigest()
    if shard.sha256 in (None, digest):
        indices = _indices_in(path, content)
        count = len(indices) if indices.ndim else 0
        if count == shard.samples:
            return indices
        found = f"{count} samples where {NAME} says {shard.samples}"
    else:
        found = f"damaged: its SHA-256 is not the one in {NAME}"
    raise RunError(f"{path}: {found}: run the same vq encode again")


def _content(path: Path, most: float = math.inf) -> bytes:
    try:
        if path.stat().st_size > most:
            raise OSError(errno.EFBIG, f"over {most} bytes")
        return read_bytes(path)
    except (OSError, MemoryError) as error:
        raise RunError(f"{path} cannot be read: {describe_error(error)}") from error


def _indices_in(path: Path, content: bytes) -> np.ndarray:
    try:
        if path.suffix == ".safetensors":
            arrays = from_safetensors(content)
            return arrays[_name_among(arrays)]
        if content.startswith(b"PK"):
            return _from_zip(content)
        return _from_npy(content)
    except Exception as error:  # NumPy, zipfile and safetensors raise many kinds
        cause = describe_error(error)[:300]
        raise RunError(f"{path}: damaged or not a file of indices: {cause}") from error


def _from_zip(content: bytes) -> np.ndarray:
    """The indices in the bytes of a .npz file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        entry = members[_name_among(members)]
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"compressed by method {entry.compress_type}, not as NumPy does")
        if entry.file_size > max(_LEAST, _RATIO * len(content)):
            raise ValueError(f"{entry.file_size} bytes in a file of {len(content)}")
        return _from_npy(archive.read(entry))


def _name_among(names: Iterable[str]) -> str:
    listed = list(names)
    if INDICES in listed:
        return INDICES
    if len(listed) != 1:
        raise ValueError(f"an array named {INDICES} expected, found {shown(listed)}")
    return listed[0]


def _from_npy(content: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file, sharing their memory."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"a .npy file of version {version}")
    shape, in_columns, dtype = _HEADERS[version](file)
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if dtype.hasobject or expected != found:
        raise ValueError(f"{found} bytes where its header says {dtype} of shape {shown(shape)}")
    return np.ndarray(shape, dtype, content, file.tell(), order="F" if in_columns else "C")
