"""A folder of one's own pictures, of any sizes and modes, in any nesting."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from vq.data.partition import held_out
from vq.data.picture_source import PictureSource
from vq.data.pictures import ENDINGS, PictureFiles, find_pictures, unreadable
from vq.data.splits import FileSplit
from vqcore.errors import SettingError

_TEST_FOLDERS = ("test", "val", "valid", "validation")
#: Broken files named on the terminal; data.json has them all.
_LISTED = 20
_log = logging.getLogger(__name__)


class ImageFolder(PictureSource):
    """Every picture below a folder, its middle square scaled to one size.

    Where the folder holds ``train`` and one of ``test``, ``val``, ``valid``, ``validation`` (the first that is there),
    these are the splits. Otherwise a fixed share of all pictures is held out, by a seeded permutation of the sorted
    relative paths. Each file is decoded once at the start: broken ones are left out of their split and reported, the
    others stay where they were (unless a split would be left empty: then the readable ones are parted anew).

    A picture's class is the topmost folder it lies in, where there are two or more of them and no picture beside them.

    Args:
        root: the folder.
        image_size: side of the pictures served.
        held_out: share of the pictures in the test split, where the folder has no splits of its own.
        workers: processes that read ahead.
        strict: refuse a folder with broken files.
        flip, shift: see ``PictureSource``.
    """

    def __init__(
        self,
        *,
        root: str = "data/images",
        image_size: int = 64,
        held_out: float = 0.1,
        workers: int = 2,
        strict: bool = False,
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        super().__init__((3, image_size, image_size), flip, shift)
        self.root, self.held_out, self.workers, self.strict = root, held_out, workers, strict
        self.folder = Path(root).expanduser()

    def split(self, name: Literal["train", "test"]) -> FileSplit:
        """Files served as bytes (3, image_size, image_size), sorted by path."""
        paths, labels = self.files[name], None
        if self.classes:
            numbers = {folder: number for number, folder in enumerate(self.classes)}
            labels = torch.tensor([numbers[self._class(path)] for path in paths])
        return FileSplit(PictureFiles(paths, self.shape), self.workers, labels)

    def describe(self) -> dict[str, Any]:
        """Also how many pictures there are, and the broken ones left out, relative to the root, with the reason."""
        skipped = {
            path.relative_to(self.folder).as_posix(): reason for path, reason in self.broken.items()
        }
        counts = {name: len(paths) for name, paths in self.files.items()} | {
            "skipped": len(skipped)
        }
        return super().describe() | {"pictures": counts, "skipped": skipped}

    def restore(self, described: Mapping[str, Any]) -> None:
        """Which pictures are broken, if there are as many as there were: a million are not decoded again."""
        skipped, counts = described.get("skipped", {}), described.get("pictures", {})
        if sum(counts.values()) == sum(map(len, self._found.values())):
            self.__dict__["broken"] = {
                self.folder / name: reason for name, reason in skipped.items()
            }

    @cached_property
    def classes(self) -> list[str] | None:  # type: ignore[override]
        """Names of the topmost folders, sorted."""
        names = {self._class(path) for paths in self.files.values() for path in paths}
        return sorted(names) if len(names) > 1 and "" not in names else None

    def _class(self, path: Path) -> str:
        """The topmost folder of a picture, below the split's where there are such; empty where it is in none."""
        *folders, _ = path.relative_to(self.folder).parts
        return next(iter(folders[1:] if self._held else folders), "")

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The readable files of each split."""
        good = {
            name: [path for path in paths if path not in self.broken]
            for name, paths in self._found.items()
        }
        readable = sorted(path for paths in good.values() for path in paths)
        if not self._held and len(readable) > 1 and not all(good.values()):
            good = self._parted(readable)
        for name, paths in good.items():
            if not paths:
                raise self._unusable(
                    f"readable pictures to {name} with, but all {len(self._found[name])} are broken"
                )
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
            some = [*broken.items()][:_LISTED]
            listed = "\n".join(
                f"  {path.relative_to(self.folder)}: {reason}" for path, reason in some
            )
            if len(broken) > _LISTED:
                listed += f"\n  and {len(broken) - _LISTED} more"
            if self.strict:
                fix = f"remove them or set dataset.strict=false:\n{listed}"
                raise self._unusable(f"pictures that can be read, but {count}", fix)
            _log.warning("dataset.root = %r: %s and are left out:\n%s", self.root, count, listed)
        return broken

    @cached_property
    def _held(self) -> str | None:
        """The folder of the test split, where the root has folders for both splits."""
        if not (self.folder / "train").is_dir():
            return None
        return next((name for name in _TEST_FOLDERS if (self.folder / name).is_dir()), None)

    @cached_property
    def _found(self) -> dict[str, list[Path]]:
        if not self.folder.is_dir():
            found = "is a file" if self.folder.exists() else "does not exist"
            fix = "name another with --set dataset.root=PATH; of a run that has begun, in its config.yaml"
            raise self._unusable(f"a folder of pictures, but it {found}", fix)
        if self._held:
            return {"train": self._pictures("train", 1), "test": self._pictures(self._held, 1)}
        return self._parted(self._pictures("", 2))

    def _parted(self, paths: list[Path]) -> dict[str, list[Path]]:
        train, held = held_out(len(paths), self.held_out)
        return {
            "train": [paths[i] for i in train.tolist()],
            "test": [paths[i] for i in held.tolist()],
        }

    def _pictures(self, below: str, least: int) -> list[Path]:
        folder = self.folder / below
        try:
            paths = find_pictures(folder)
        except OSError as error:
            raise self._unusable(f"a folder that can be listed ({error})") from error
        if len(paths) < least:
            kinds = ", ".join(sorted(ending[1:] for ending in ENDINGS))
            raise self._unusable(
                f"{least} or more pictures ({kinds}) below {folder}, but {len(paths)} found"
            )
        return paths

    def _unusable(self, expected: str, fix: str = "") -> SettingError:
        return SettingError("dataset.root", self.root, expected, fix)
