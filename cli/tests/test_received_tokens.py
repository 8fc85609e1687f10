"""Folders of indices that came from anyone: refused in words, before anything large is made."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vq.tokens.decode import _named
from vq.tokens.manifest import Manifest
from vq.tokens.shards import read_shard
from vqcore.errors import RunError

INDICES = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


def npy(array=INDICES):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_of_shape(shape, descr="|u1"):
    """A .npy file of a header alone."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"


def npz(content=None, method=zipfile.ZIP_STORED, name="indices.npy"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, npy() if content is None else content)
    return file.getvalue()


def changed(content, place, value):
    """A zip file with two bytes of its entry in the directory at its end replaced."""
    start = content.rindex(b"PK\1\2") + place
    return content[:start] + struct.pack("<H", value) + content[start + 2 :]


HOSTILE = {
    "lzma.npz": (npz(method=zipfile.ZIP_LZMA), "method 14, not as NumPy does"),
    "bzip2.npz": (npz(method=zipfile.ZIP_BZIP2), "method 12, not as NumPy does"),
    "method.npz": (changed(npz(), 10, 99), "method 99, not as NumPy does"),
    "encrypted.npz": (changed(npz(), 8, 1), "is encrypted, password required"),
    "flags.npz": (changed(npz(), 8, 0x20), "compressed patched data"),
    "bomb.npz": (npz(bytes(2**27), zipfile.ZIP_DEFLATED), "134217728 bytes in a file of 1"),
    "other.npz": (npz(name="a\x1b[2J.npy")[:-9], "not a zip file"),
    "empty.npz": (npz(b""), "damaged or not a file of indices"),
    "huge.npy": (npy_of_shape((10**15, 4, 4)), "0 bytes where its header says uint8 of shape"),
    "negative.npy": (npy_of_shape((-1, -48)) + bytes(48), "damaged or not a file of indices"),
    "overflow.npy": (npy_of_shape((2**32, 2**32)), "0 bytes where its header says uint8"),
    "pickled.npy": (npy_of_shape((1,), "|O") + bytes(8), "8 bytes where its header says object"),
    "deep.npy": (npy_of_shape("(" * 9000), "damaged or not a file of indices"),
    "long.npy": (npy_of_shape("1," * 30000), "damaged or not a file of indices"),
    "version.npy": (npy().replace(b"Y\1", b"Y\7"), "version (7, 0)"),
    "longer.npy": (npy() + b"x", "49 bytes where its header says uint8"),
    "header.safetensors": (struct.pack("<Q", 2**62) + b"{}", "damaged or not a file"),
    "deep.safetensors": (struct.pack("<Q", 99999) + b"[" * 99999, "damaged or not a file"),
    "text.safetensors": (b"", "damaged or not a file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_words(name, tmp_path):
    content, expected = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_shard(tmp_path / name)
    message = str(caught.value)
    assert expected in message
    assert len(message) < 1000
    assert message.isprintable()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, ">u2", np.int64])
def test_what_numpy_writes_is_read(order, dtype, tmp_path):
    array = np.asarray(INDICES, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    np.savez_compressed(tmp_path / "b.npz", indices=array, labels=np.arange(3))
    for name in ("a.npy", "a.npz", "b.npz"):
        found = read_shard(tmp_path / name)
        assert np.array_equal(found, INDICES)
        assert found.dtype == array.dtype


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "endless.npy").symlink_to("/dev/zero")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "gone.npz").symlink_to("nowhere")
    for path in tmp_path.iterdir():
        with pytest.raises(RunError, match="cannot be read"):
            read_shard(path)
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(RunError, match=r"manifest\.json cannot be read: .*not a regular file"):
        Manifest.read(tmp_path)


def manifest(**changes):
    shard = {"file": "shard-00000.npz", "samples": 3}
    values = {
        "format": 1,
        "complete": True,
        "model": {"run": "run", "checkpoint": "step-00000012", "sha256": "0"},
        "input": {"path": "mine", "sha256": "0"},
        "codebook_size": 64,
        "index_shape": [4, 4],
        "latent_shapes": [[4, 4]],
        "dtype": "uint8",
        "sample_shape": [1, 8, 8],
        "value_range": [-1, 1],
        "file_format": "npz",
        "shard_size": 3,
        "shards": [shard],
        "names": ["a.png", "b.png", "c/a.png"],
        "skipped": {},
        "versions": {},
    }
    return {key: value for key, value in (values | changes).items() if value is not None}


def refusal(folder: Path, text: str | bytes) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(RunError) as caught:
        Manifest.read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'manifest.json'}: not a manifest of indices: ")
    assert len(message) < 1000
    assert message.isprintable()
    return message


def test_a_manifest_is_read(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    assert Manifest.read(tmp_path).names == ["a.png", "b.png", "c/a.png"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": 3, "model": None, "new": 1}, "format: Input should be 1 or 2, found 3"),
        ({"model": None}, "model: Field required"),
        ({"model": {"run": "run"}}, "model: missing: checkpoint, sha256"),
        ({"input": {}}, "input: missing: path, sha256"),
        ({"names": ["a", "b", "a"]}, "names: 'a' is there twice"),
        ({"names": ["a", "b"]}, "shards and names do not agree"),
        ({"names": ["a", "b", "c\x1b[2J"]}, r"names.2: name = 'c\x1b[2J'"),
        ({"names": ["a", "b", "c\\..\\d"]}, "expected a plain name"),
        ({"names": ["a", "b", "c//d"]}, "expected a plain name"),
        ({"names": ["a", "b", "c" * 5000]}, "expected a plain name"),
        ({"shards": [{"file": "../a.npz", "samples": 3}]}, "shards.0.file: name"),
        ({"shards": [{"file": "deep/a.npz", "samples": 3}]}, "shards.0.file: name"),
        ({"shards": [{"file": "a.npz", "samples": -3}]}, "greater than or equal to 0, found -3"),
        ({"shards": [{"file": "a.npz", "samples": 10**4000}]}, "shards.0.samples: Input should be"),
        ({"shards": {"x" * 5000: 1}}, "shards: Input should be a valid"),
        ({"skipped": {"\x1b[2J" * 500: 1}}, "skipped."),
        ({"value_range": [0, float("inf")]}, "value_range.1: Input should be a finite number"),
    ],
)
def test_a_hostile_manifest_is_refused_in_words(changes, expected, tmp_path):
    assert expected in refusal(tmp_path, json.dumps(manifest(**changes)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, "recursion limit exceeded"),
        (json.dumps(manifest(names=["a", "b", "\ud800"])), "Invalid JSON: "),
        (b"\xff\xfe{}", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("3", "Input should be an object, found 3"),
        ('{"format": ' + "1" * 5000 + "}", "Invalid JSON: number out of range"),
    ],
)
def test_no_manifest_at_all(text, expected, tmp_path):
    assert expected in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b/a.png"], ["a.png", "b/a.png"]),
        (["a.jpg", "a.png"], ["a.jpg.png", "a.png.png"]),
        (["a.jpg", "a.png/b.jpg"], ["a.jpg.png", "a.png/b.jpg.png"]),  # a folder named a.png
        (["a", "a.png/b", "a.jpg"], None),
    ],
)
def test_no_decoded_image_takes_the_place_of_another(names, expected):
    assert _named(names, ".png") == expected
