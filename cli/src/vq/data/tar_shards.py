"""WebDataset's tar shards, indexed: where each sample's picture lies, and its label.

A tar file is made to be read from its start. An index of offsets gives random access instead, so
that any order of samples, exact resume and any number of processes work as for other data. It is
kept in the user's state folder until a shard's size or time of change is another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from vq.data.find_images import SUFFIXES
from vq.files import check_regular, read_json, state_folder, write_json
from vqcore.errors import VQError, describe_error, printable

#: Samples of a shard from which on its index is kept: reading the headers of fewer takes no time.
MANY = 1000
#: Bytes of a label or of the JSON that holds it, at most.
_LABEL_BYTES = 2**20
#: WebDataset's rule: the extension begins at the first dot of the file's name.
_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Sample(NamedTuple):
    """Where the picture of a sample lies in its shard, and the text of its label."""

    key: str
    offset: int
    size: int
    label: str | None


@dataclass(frozen=True)
class ShardIndex:
    """The samples of a shard.

    Attributes:
        samples: in the order of their pictures.
        skipped: the reason for each one that is left out, by key.
        broken: why the rest of the shard cannot be read; empty if all of it can.
    """

    samples: list[Sample]
    skipped: dict[str, str]
    broken: str = ""


def expanded(pattern: str) -> list[Path]:
    """The paths that a pattern names: ``{000..012}`` and ``{a,b}`` as in a shell, ``*`` and ``?``.

    Braces name files whether they exist or not, in their order; the others are sorted.
    """
    found = _BRACES.search(pattern)
    if found is None:
        if not re.search(r"[*?\[]", pattern):
            return [Path(pattern)]
        return [Path(path) for path in sorted(glob(pattern, recursive=True))]
    start, end = pattern[: found.start()], pattern[found.end() :]
    choices = found[1].split(",")
    if numbers := _RANGE.fullmatch(found[1]):
        first, last = numbers.groups()
        choices = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    parts = (expanded(f"{start}{choice}{end}") for choice in choices)
    return list(itertools.chain.from_iterable(parts))


def index_shards(shards: list[Path], image: str | None, label: str | None) -> list[ShardIndex]:
    """The index of each shard.

    Args:
        shards: uncompressed tar files.
        image: extension of the member that is the picture; None: the first that is an image's.
        label: extension of the member that is the class, or ``json.`` and a field of the JSON.
            None: ``cls``, where a sample has it.
    """
    with ThreadPoolExecutor(8) as pool:  # threads hide a slow disk
        return list(pool.map(lambda shard: _remembered(shard, image, label), shards))


def _remembered(shard: Path, image: str | None, label: str | None) -> ShardIndex:
    # a file that is gone, no home, a full disk, a memory that was edited: nothing may fail a run
    harmless = contextlib.suppress(OSError, RuntimeError, VQError, LookupError, TypeError)
    with harmless:
        memory, digest = _memory(shard, image, label)
        known = read_json(memory) or {}
        if known.get("digest") == digest:
            samples = [Sample(*_checked(each)) for each in known["samples"]]
            return ShardIndex(samples, dict(known["skipped"]), str(known["broken"]))
    index = _index(shard, image, label)
    if len(index.samples) >= MANY:
        with harmless:
            memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(memory, {"digest": digest, **asdict(index)})
    return index


def _checked(values: Any) -> tuple[str, int, int, str | None]:
    key, offset, size, label = values
    if not (isinstance(key, str) and min(offset, size) >= 0 and isinstance(label, str | None)):
        raise TypeError("not a sample")
    return key, int(offset), int(size), label


def _memory(shard: Path, image: str | None, label: str | None) -> tuple[Path, str]:
    about, options = shard.stat(), json.dumps([image, label])
    name = hashlib.sha256(os.fsencode(shard.resolve()) + options.encode()).hexdigest()[:32]
    digest = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
    return state_folder() / "shards" / f"{name}.json", digest


def _index(shard: Path, image: str | None, label: str | None) -> ShardIndex:
    pictures: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    skipped: dict[str, str] = {}
    broken = ""
    try:
        check_regular(shard)
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as tar:
            for member, key, extension in _members(tar):
                if member.offset_data + member.size > size:
                    skipped[key] = f"{printable(member.name)} is cut off"
                elif extension == image or (image is None and f".{extension}" in SUFFIXES):
                    pictures.setdefault(key, member)
                elif (text := _label(tar, member, extension, label)) is not None:
                    labels[key] = text
            if tar.offset >= size:  # else the zeros that end an archive follow
                broken = f"its end is missing (after {len(pictures)} pictures)"
    except (OSError, tarfile.TarError) as error:
        broken = f"{_reason(shard, error)} (after {len(pictures)} pictures)"
    if label is not None:
        skipped |= dict.fromkeys(pictures.keys() - labels.keys(), f"it has no {label}")
    samples = [
        Sample(key, member.offset_data, member.size, labels.get(key))
        for key, member in pictures.items()
        if key not in skipped
    ]
    return ShardIndex(samples, dict(sorted(skipped.items())), broken)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """Files with their key and extension."""
    for member in tar:
        if member.isreg() and not member.issparse() and (found := _MEMBER.fullmatch(member.name)):
            yield member, printable(found[1].removeprefix("./")), found[2].lower()


def _label(
    tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str, label: str | None
) -> str | None:
    """The text of a sample's class if this member has it."""
    wanted, _, key = (label or "cls").partition(".")
    if extension != (wanted if wanted == "json" else label or "cls"):
        return None
    file = tar.extractfile(member)
    if file is None or member.size > _LABEL_BYTES:
        return None
    text = file.read().decode("utf-8", "replace").strip()
    if wanted != "json":
        return text
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(text)
        if isinstance(values, dict) and isinstance(values.get(key), str | int):
            return str(values[key])
    return None


def _reason(shard: Path, error: Exception) -> str:
    with contextlib.suppress(OSError), shard.open("rb") as file:
        if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5"):
            return (
                "it is compressed, so that nothing in it can be sought: unpack it to a plain .tar"
            )
    return (isinstance(error, OSError) and error.strerror) or describe_error(error)
