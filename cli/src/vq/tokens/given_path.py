"""The path that ``vq encode`` is given, looked at before torch is imported."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vqcore.errors import SettingError, did_you_mean

SPLITS = ("train", "test")


def check_given(path: Path) -> Path:
    """Refuse a path with nothing to encode.

    Raises:
        SettingError: if nothing is there, or an empty folder.
    """
    file = path.expanduser()
    if str(path) in SPLITS:
        return path
    if not file.exists():
        expected = "a folder of images, an image, a .npy or .npz file, or train or test for the "
        expected += "run's own data; nothing is there"
        raise SettingError("PATH", str(path), expected, did_you_mean(str(path), SPLITS))
    with suppress(OSError):  # what cannot be listed is explained where it is read
        if file.is_dir() and not any(file.iterdir()):
            raise SettingError("PATH", str(path), "files to encode, but the folder is empty")
    return path
