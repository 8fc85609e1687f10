"""A folder of one's own pictures, of any sizes and modes, in any nesting."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vq.pipeline.data.partition import held_out
from vq.pipeline.data.pictures import ENDINGS, PictureFiles, find_pictures, unreadable
from vq.pipeline.data.source import DataSource, FileSplit
from vqcore.errors import SettingError

_TEST_FOLDERS = ("test", "val", "valid", "validation")
_log = logging.getLogger(__name__)


class ImageFolder(DataSource):
    """Every picture below a folder, as the middle square scaled to one size.

    Where the folder holds ``train`` and one of ``test``, ``val``, ``valid``, ``validation`` (the first that is there),
    these are the splits. Otherwise a fixed share of all pictures is held out, by a seeded permutation of the sorted
    relative paths. Each file is decoded once at the start: broken ones are left out of their split and reported, the
    others stay where they were.

    Args:
        root: the folder.
        image_size: side of the pictures served.
        held_out: share of the pictures in the test split, where the folder has no splits of its own.
        workers: processes that read ahead.
        strict: refuse a folder with broken files.
    """

    def __init__(
        self,
        *,
        root: str = "data/images",
        image_size: int = 64,
        held_out: float = 0.1,
        workers: int = 2,
        strict: bool = False,
    ) -> None:
        self.root, self.image_size, self.held_out = root, image_size, held_out
        self.workers, self.strict = workers, strict
        self.folder = Path(root).expanduser()
        self.shape = (3, image_size, image_size)

    def split(self, name: Literal["train", "test"]) -> FileSplit:
        """Files served as bytes (3, image_size, image_size), sorted by path."""
        return FileSplit(PictureFiles(self.files[name], self.image_size), self.workers)

    def describe(self) -> dict[str, Any]:
        """Also the broken files left out, relative to the root."""
        skipped = [path.relative_to(self.folder).as_posix() for path in self.broken]
        return super().describe() | {"skipped": skipped}

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The readable files of each split."""
        good = {name: [path for path in paths if path not in self.broken] for name, paths in self._found.items()}
        for name, paths in good.items():
            if not paths:
                raise self._unusable(f"readable pictures to {name} with, but all {len(self._found[name])} are broken")
        return good

    @cached_property
    def broken(self) -> dict[Path, str]:
        """The files that cannot be read, with the reason; reported once.

        Raises:
            SettingError: if there are any and ``strict`` is set.
        """
        broken = unreadable([path for paths in self._found.values() for path in paths])
        total = sum(map(len, self._found.values()))
        if broken:
            count = f"{len(broken)} of {total} pictures cannot be read"
            listed = "\n".join(f"  {path}: {reason}" for path, reason in broken.items())
            if self.strict:
                fix = f"remove them or set dataset.strict=false:\n{listed}"
                raise self._unusable(f"pictures that can be read, but {count}", fix)
            _log.warning("dataset.root = %r: %s and are left out:\n%s", self.root, count, listed)
        return broken

    @cached_property
    def _found(self) -> dict[str, list[Path]]:
        if not self.folder.is_dir():
            fix = "create it, or name another with --set dataset.root=PATH"
            raise self._unusable("a folder of pictures, but it does not exist", fix)
        test = next((name for name in _TEST_FOLDERS if (self.folder / name).is_dir()), None)
        if test and (self.folder / "train").is_dir():
            return {"train": self._pictures("train", 1), "test": self._pictures(test, 1)}
        paths = self._pictures("", 2)
        train, held = held_out(len(paths), self.held_out)
        return {"train": [paths[i] for i in train.tolist()], "test": [paths[i] for i in held.tolist()]}

    def _pictures(self, below: str, least: int) -> list[Path]:
        folder = self.folder / below
        try:
            paths = find_pictures(folder)
        except OSError as error:
            raise self._unusable(f"a folder that can be listed ({error})") from error
        if len(paths) < least:
            kinds = ", ".join(sorted(ending[1:] for ending in ENDINGS))
            raise self._unusable(f"{least} or more pictures ({kinds}) below {folder}, but {len(paths)} found")
        return paths

    def _unusable(self, expected: str, fix: str = "") -> SettingError:
        return SettingError("dataset.root", self.root, expected, fix)
