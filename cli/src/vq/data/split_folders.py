"""A folder of a user's own data, and the folders of the two splits in it."""

from __future__ import annotations

from pathlib import Path

from vqcore.errors import SettingError

#: Names of the folder of the held-out split, in the order in which they are looked for.
_HELD_OUT = ("test", "val", "valid", "validation")


def held_out_folder(root: Path) -> str | None:
    """The name of the folder of the held-out split, if the root has folders for both splits."""
    if not (root / "train").is_dir():
        return None
    return next((name for name in _HELD_OUT if (root / name).is_dir()), None)


def check_folder(folder: Path, given: str, holds: str) -> None:
    """Refuse a root that is no folder.

    Args:
        folder: the root.
        given: as the user wrote it.
        holds: what it should hold, in words.

    Raises:
        SettingError: naming ``dataset.root``.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        fix = "name another with --set dataset.root=PATH, or in the config.yaml of a run"
        raise SettingError("dataset.root", given, f"a folder of {holds}, but it {found}", fix)
