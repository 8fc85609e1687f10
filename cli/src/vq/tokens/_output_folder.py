"""The folder that ``encode`` writes into: a new one, or one that an interrupted call has left."""

from __future__ import annotations

import logging
from pathlib import Path

from vq.files import leftovers, remove, writing
from vq.processes.shared_folder import MARK
from vq.runs.provenance import sha256_of
from vq.tokens.manifest import NAME, NAMES, Manifest, Shard, chosen_by
from vq.tokens.shards import read_listed
from vqcore.errors import RunError, SettingError, shown

_log = logging.getLogger(__name__)


def open_output(folder: Path, wanted: Manifest) -> dict[int, str]:
    """Create the folder with its manifest, or check that it holds a part of the same indices.

    Returns:
        The SHA-256 of the shards that are kept, by number.
    """
    ours = (NAME, NAMES, MARK)
    for left in leftovers(folder, lambda name: name in ours or name.startswith("shard-")):
        remove(left)
    # names.txt alone: a call was killed before it wrote the manifest
    found = [each for each in folder.iterdir() if each.name != NAMES] if folder.is_dir() else []
    if (folder.exists() and not folder.is_dir()) or (found and not (folder / NAME).is_file()):
        expected = "a new or empty folder, or one that vq encode was interrupted in"
        expected += f"; found no {NAME}"
        raise SettingError("--output", str(folder), expected, "choose another")
    if found:
        old = Manifest.read(folder)
        _check_same(folder, old, wanted)
        kept = (_digest_of(folder / shard.file, shard, wanted) for shard in old.shards)
        return {number: digest for number, digest in enumerate(kept) if digest}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    wanted.write(folder)
    return {}


def _digest_of(file: Path, shard: Shard, manifest: Manifest) -> str | None:
    """The SHA-256 of a shard that is kept; None if it has to be written."""
    if not file.is_file():
        return None
    try:
        read_listed(file, shard, manifest.index_shape)
        return shard.sha256 or sha256_of(file)  # version 0.1 recorded none
    except RunError as error:
        _log.warning("%s is written again: %s", file.name, error)
        return None


def _check_same(folder: Path, old: Manifest, new: Manifest) -> None:
    """Refuse a folder that holds other indices than the ``new`` ones, or in other shards."""
    found = ""
    if old.model["sha256"] != new.model["sha256"]:
        found = chosen_by(old)
    elif old.input["sha256"] != new.input["sha256"] or old.names != new.names:
        found = f"those of another input, {shown(old.input['path'])} ({len(old.names)} samples)"
    elif [shard.file for shard in old.shards] != [shard.file for shard in new.shards] or (
        old.shard_size != new.shard_size
    ):
        found = f"shards of {old.shard_size} samples as {shown(old.file_format)}"
    if found:
        expected = f"a new folder, or one with a part of the same indices; it holds {found}"
        raise SettingError("--output", str(folder), expected, "choose another")
