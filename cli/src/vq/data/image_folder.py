"""A folder of your own images, of any sizes and modes, nested in any way."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from vq.data.checked_images import broken_images
from vq.data.find_images import KINDS, find_images
from vq.data.image_files import ImageFiles
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.image_source import ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.errors import SettingError, printable

_TEST_FOLDERS = ("test", "val", "valid", "validation")
#: Limit of the broken files that are logged; data.json lists all.
_LOGGED = 20
_log = logging.getLogger(__name__)


class ImageFolder(ImageSource):
    """All images below a folder, centre-cropped and resized.

    If the folder holds ``train`` and one of ``test``, ``val``, ``valid``, ``validation`` (the first
    that exists), these are the splits. Otherwise a fixed share is held out, by a seeded permutation
    of the sorted relative paths. Each file is decoded once at the start, see ``broken_images``.
    Broken files are logged and skipped; other files stay in their split, unless a split would be
    empty: then the readable files are partitioned again.

    The class of an image is its topmost folder, if there are several and no image is outside them.
    For the options see ``ImageFolderConfig``.
    """

    def __init__(
        self,
        *,
        root: str = "data/images",
        image_size: int = 64,
        held_out: float = 0.1,
        workers: int | None = None,
        strict: bool = False,
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        super().__init__((3, image_size, image_size), flip, shift)
        self.root, self.held_out, self.workers, self.strict = root, held_out, workers, strict
        self.folder = Path(root).expanduser()
        self._others: Counter[str] = Counter()

    def split(self, name: Literal["train", "test"]) -> DatasetSplit:
        """uint8 (3, image_size, image_size), sorted by path."""
        paths, labels = self.files[name], None
        if self.classes:
            numbers = {folder: number for number, folder in enumerate(self.classes)}
            labels = torch.tensor([numbers[self._class(path)] for path in paths])
        return DatasetSplit(ImageFiles(paths, self.shape), self.workers, labels)

    def describe(self) -> dict[str, Any]:
        """Adds the number of images, the reason for each broken file by relative path, and the
        number of other files by suffix.
        """
        skipped = {self._relative(path): reason for path, reason in self.broken.items()}
        counts = {name: len(paths) for name, paths in self.files.items()}
        counts["skipped"] = len(skipped)
        others = dict(self._others)
        return super().describe() | {"pictures": counts, "skipped": skipped, "others": others}

    def restore(self, described: Mapping[str, Any]) -> None:
        """Take the broken files from ``describe``, unless the number of images has changed.

        This avoids decoding every image again.
        """
        skipped, counts = described.get("skipped", {}), described.get("pictures", {})
        with suppress(AttributeError, KeyError, TypeError, ValueError):  # edited: decoded again
            broken = {self.folder / name: str(reason) for name, reason in skipped.items()}
            found = {path for paths in self._found.values() for path in paths}
            same = sum(counts.values()) == len(found) and counts["skipped"] == len(broken)
            if same and broken.keys() <= found:
                self.__dict__["broken"] = broken

    @cached_property
    def classes(self) -> list[str] | None:  # type: ignore[override]  # known once files are listed
        """Names of the topmost folders, sorted."""
        names = {self._class(path) for paths in self.files.values() for path in paths}
        return sorted(names) if len(names) > 1 and "" not in names else None

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The readable files of each split."""
        good = {
            name: [path for path in paths if path not in self.broken]
            for name, paths in self._found.items()
        }
        readable = sorted(path for paths in good.values() for path in paths)
        if not self._test_folder and len(readable) > 1 and not all(good.values()):
            good = self._partitioned(readable)
        for name, paths in good.items():
            if not paths:
                found = f"all {len(self._found[name])} are broken"
                raise self._error(f"readable images to {name} with, but {found}")
        return good

    @cached_property
    def broken(self) -> dict[Path, str]:
        """The files that cannot be read, with the reason; logged once.

        Raises:
            SettingError: if there are any and ``strict`` is set.
        """
        found = [path for paths in self._found.values() for path in paths]
        broken = broken_images(self.folder, found)
        if broken:
            count = f"{len(broken)} of {self._total} images cannot be read"
            names = {path: printable(self._relative(path)) for path in broken}
            lines = [f"  {names[path]}: {reason}" for path, reason in broken.items()]
            listed = "\n".join(lines[:_LOGGED])
            if len(lines) > _LOGGED:
                listed += f"\n  and {len(lines) - _LOGGED} more"
            if self.strict:
                fix = f"remove them or set dataset.strict=false:\n{listed}"
                raise self._error(f"images that can be read, but {count}", fix)
            _log.warning("dataset.root = %r: %s and are skipped:\n%s", self.root, count, listed)
        return broken

    @cached_property
    def _test_folder(self) -> str | None:
        """The folder of the test split, if the root has folders for both splits."""
        if not (self.folder / "train").is_dir():
            return None
        return next((name for name in _TEST_FOLDERS if (self.folder / name).is_dir()), None)

    @cached_property
    def _found(self) -> dict[str, list[Path]]:
        if not self.folder.is_dir():
            found = "is a file" if self.folder.exists() else "does not exist"
            fix = "name another with --set dataset.root=PATH, or in the config.yaml of a run"
            raise self._error(f"a folder of images, but it {found}", fix)
        if self._test_folder:
            return {"train": self._images("train", 1), "test": self._images(self._test_folder, 1)}
        return self._partitioned(self._images("", 2))

    @property
    def _total(self) -> int:
        return sum(len(paths) for paths in self._found.values())

    def _class(self, path: Path) -> str:
        """The topmost folder of an image, below the split's folder if any; empty if in none."""
        *folders, _ = path.relative_to(self.folder).parts
        return printable(next(iter(folders[1:] if self._test_folder else folders), ""))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _partitioned(self, paths: list[Path]) -> dict[str, list[Path]]:
        parts = zip(("train", "test"), train_test_indices(len(paths), self.held_out), strict=True)
        return {name: [paths[index] for index in rows.tolist()] for name, rows in parts}

    def _images(self, below: str, least: int) -> list[Path]:
        folder = self.folder / below
        try:
            found = find_images(folder)
        except OSError as error:
            raise self._error(f"a folder that can be listed ({error})") from error
        count = f"{len(found.images)} found{found.beside()}"
        if len(found.images) < least:
            raise self._error(f"{least} or more images ({KINDS}) below {folder}, but {count}")
        if found.others:
            self._others.update(found.others)
            _log.info("dataset.root = %r: images below %s: %s", self.root, folder, count)
        return found.images

    def _error(self, expected: str, fix: str = "") -> SettingError:
        return SettingError("dataset.root", self.root, expected, fix)
