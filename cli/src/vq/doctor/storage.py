"""Where runs, temporary and cached files are written: whether that works, and how much fits."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vq.doctor.finding import Finding, Problem
from vq.files import state_folder
from vqcore.errors import describe_error, shown
from vqcore.plugin.registry import Registry

#: GiB below which a disk is nearly full, and shared memory too small for batches of pictures.
LITTLE_DISK, LITTLE_SHARED = 1.0, 0.25
_SHARED = Path("/dev/shm")
_FIX = {
    "runs": "change to another folder, or give --run-dir DIR",
    "temporary": "set TMPDIR to a folder that can be written",
    "state": "set XDG_STATE_HOME; without it vq trusts no folder of yours (docs/security.md)",
    "cache": "set XDG_CACHE_HOME to a folder that can be written",
}


def storage(_: Registry) -> Finding:
    """Each place, with a problem where it cannot be written or is nearly full."""
    places: dict[str, Callable[[], Path]] = {
        "runs": lambda: Path.cwd() / "runs",
        "temporary": lambda: Path(tempfile.gettempdir()),
        "state": state_folder,
        "cache": _cache,
    }
    rows = [_row(name, find) for name, find in places.items()]
    problems = [problem for row in rows for problem in _problems(row)]
    given = os.environ.get("TMPDIR")
    if given and (error := _write_error(Path(given))):
        text = f"TMPDIR = {shown(given)} is not used: it cannot be written: {error}"
        problems.append(Problem("warning", text, _FIX["temporary"]))
    if _SHARED.is_dir():
        size = shutil.disk_usage(_SHARED).total / 2**30
        rows.append(_place("shared memory", _SHARED) | {"size_gib": round(size, 2)})
        if size < LITTLE_SHARED:
            text = f"{_SHARED} has {size:.2g} GiB, through which data workers pass their batches"
            fix = "docker run --shm-size=8g, or train with --dataset.workers 0"
            problems.append(Problem("warning", text, fix))
    return Finding(rows, problems)


def _row(name: str, find: Callable[[], Path]) -> dict[str, Any]:
    try:
        return _place(name, find())
    except (OSError, RuntimeError) as error:  # a folder that is gone, a user without a home
        return {"place": name, "path": None, "writable": False, "error": describe_error(error)}


def _problems(row: Mapping[str, Any]) -> Iterator[Problem]:
    name, path = row["place"], row["path"]
    if not row["writable"]:
        text = f"{name}: {f'{path} cannot be written' if path else 'no folder'}: {row['error']}"
        yield Problem("warning" if name == "cache" else "broken", text, _FIX[name])
    elif row["free_gib"] < LITTLE_DISK:
        text = f"{name}: {path} has {row['free_gib']:g} GiB left"
        yield Problem("warning", text, "make room: a full disk ends a run")


def _place(name: str, path: Path) -> dict[str, Any]:
    """What is known of a folder, which may not exist yet; a file is made there and removed."""
    there = next((each for each in (path, *path.parents) if each.exists()), path)
    error = _write_error(there)
    return {
        "place": name,
        "path": str(path),
        "writable": error is None,
        "error": error,
        "free_gib": round(shutil.disk_usage(there).free / 2**30, 1),
    }


def _write_error(folder: Path) -> str | None:
    """Why no file can be written in a folder: it may be closed, missing or full."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".vq-doctor-") as file:
            file.write(bytes(4096))
    except OSError as error:
        return error.strerror or describe_error(error)
    return None


def _cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"
