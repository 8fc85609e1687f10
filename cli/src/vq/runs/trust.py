"""Whether this user made a folder here, and what is followed of any other. Torch-free.

A folder is signed with a key that this machine keeps for its user. Without a signature its config
loads no plugin file, downloads nothing and sends nothing: see docs/security.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.config.merging import flatten
from vq.files import NOT_LINKED, read_bytes, state_folder, write_text
from vqcore.errors import shown

SIGNATURE = "signature"
#: Trackers that only write into the run folder.
LOCAL_TRACKERS = ("tensorboard",)
_KEY_BYTES = 32


def follow(
    folder: Path, values: Mapping[str, Any], *, trust: bool = False, training: bool = False
) -> tuple[dict[str, Any], str]:
    """The settings of a folder's config as far as they are followed, and a sentence on the rest.

    Args:
        folder: the run folder.
        values: its settings, as they were read.
        trust: whether the caller trusts them.
        training: whether they are to be trained with, which starts trackers.

    Returns:
        All settings and no sentence if nothing in them is dangerous, if this user signed them, or
        if the caller trusts them.
    """
    kept = restricted(values, training=training)
    if trust or kept == values or is_signed(folder, values):
        return dict(values), ""
    return kept, not_followed(folder, values, kept)


def restricted(values: Mapping[str, Any], *, training: bool = False) -> dict[str, Any]:
    """Settings that load no plugin file, tell plugins nothing and download nothing.

    Nor do they send anything in training.
    """
    kept = _without_downloads(values)
    if kept.get("plugin_files"):
        kept["plugin_files"] = []
    if kept.get("plugins"):
        kept["plugins"] = {}  # they may say where to write or send, also in a report
    if training and kept.get("init_from"):
        kept["init_from"] = None  # it may be a download
    if training and isinstance(kept.get("trackers"), list):
        kept["trackers"] = [each for each in kept["trackers"] if each in LOCAL_TRACKERS]
    return kept


def not_followed(folder: Path, values: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """What of a config is left out, why, and what to do if it should not be."""
    left = flatten(kept)
    dropped = {key: value for key, value in flatten(values).items() if left.get(key) != value}
    what = ", ".join(f"{key} = {value}" for key, value in dropped.items())
    danger = "Plugin files can do anything that you can. " if "plugin_files" in dropped else ""
    return (
        f"{folder}: its config has {shown(what)[1:-1]}, which is not followed: nothing shows that "
        "you made this folder on this machine (it was received or changed, or is older than "
        f"signatures). {danger}If you trust the folder, add --trust-plugins (trust_plugins=True "
        "in Python)"
    )


def sign(folder: Path, values: Any) -> None:
    """Sign settings that were written into a folder; nothing where this user can have no key."""
    key = _key(create=True)
    if key is None:
        (folder / SIGNATURE).unlink(missing_ok=True)
    else:
        write_text(folder / SIGNATURE, _digest(key, values) + "\n")


def is_signed(folder: Path, values: Any) -> bool:
    """Whether this user signed exactly these settings on this machine."""
    key = _key(create=False)
    if key is None:
        return False
    try:
        found = read_bytes(folder / SIGNATURE).strip()
        return hmac.compare_digest(found, _digest(key, values).encode())
    except (OSError, ValueError, TypeError, RecursionError):  # none, or odd settings
        return False


def _without_downloads(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_downloads(each) for each in values]
    if not isinstance(values, Mapping):
        return values
    return {
        key: False if key == "download" and value else _without_downloads(value)
        for key, value in values.items()
    }


def _digest(key: bytes, values: Any) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hmac.new(key, b"vq config\n" + text.encode(), hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """This user's key; None if there is none, or others could know it."""
    try:
        path = state_folder() / "signing-key"
        if create and not path.exists():
            _create(path)
        return _read(path)
    except (OSError, RuntimeError):  # no home, or none that can be written or read
        return None


def _create(path: Path) -> None:
    """Write a new key, whole or not at all; of several processes, one succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    flags = NOT_LINKED | os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())  # a key cut short by a crash would never be replaced
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, it replaces nothing
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """A key; None if the file is no whole one, is another user's, or others may read it."""
    with os.fdopen(os.open(path, NOT_LINKED | os.O_RDONLY), "rb") as file:
        about = os.fstat(file.fileno())
        if not (stat.S_ISREG(about.st_mode) and _is_private(about)):
            return None
        key = file.read(_KEY_BYTES + 1)
    return key if len(key) == _KEY_BYTES else None


def _is_private(about: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):  # Windows: a home folder is private by its own rules
        return True
    return about.st_uid == os.geteuid() and not about.st_mode & 0o077
