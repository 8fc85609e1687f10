"""Which images of a large folder are broken, remembered until one of its files changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import PIL
from PIL import Image

from vq.data.image_files import unreadable
from vq.files import read_json, state_folder, write_json
from vqcore.errors import VQError

#: Files from which on the check is remembered: decoding fewer takes a few seconds.
MANY = 1000


def broken_images(root: Path, names: Sequence[str]) -> dict[str, str]:
    """``unreadable(names, root)``, without decoding the files of a large folder a second time.

    What was found is kept in the user's state folder, with a digest of the name, size and times of
    each file, and of the formats that Pillow reads here.
    """
    if len(names) < MANY:
        return unreadable(names, root)
    # a file that is gone, no home, a full disk, a memory that was edited: nothing may fail a run
    harmless = contextlib.suppress(OSError, RuntimeError, VQError, AttributeError, KeyError)
    digest = ""
    with harmless:
        digest = _digest(root, names)
        known = read_json(_memory(root)) or {}
        if known.get("digest") == digest:
            remembered = {name: str(reason) for name, reason in known["broken"].items()}
            if remembered.keys() <= set(names):
                return remembered
    broken = unreadable(names, root)
    with harmless:
        _memory(root).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(_memory(root), {"digest": digest, "broken": broken})
    return broken


def _memory(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    return state_folder() / "images" / f"{name}.json"


def _digest(root: Path, names: Sequence[str]) -> str:
    Image.init()
    digest = hashlib.sha256(f"{PIL.__version__} {sorted(Image.OPEN)}".encode())
    for name in names:
        about = os.stat(os.path.join(root, name))
        # the time of change as well: a copy may carry over that of modification
        times = f"{about.st_mtime_ns} {about.st_ctime_ns}"
        digest.update(os.fsencode(name) + f"\0{about.st_size} {times}\n".encode())
    return digest.hexdigest()
