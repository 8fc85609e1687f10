"""A folder of your own images, of any sizes and modes, nested in any way."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Unpack

from vq.data.find_images import KINDS, find_images
from vq.data.folder_classes import class_names, class_numbers
from vq.data.image_files import ImageFiles, sides_of, unreadable
from vq.data.packed_names import PackedNames
from vq.data.skipping import listed
from vq.data.split_folders import check_folder, held_out_folder
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.errors import SettingError

#: Images from which on none is decoded before training starts.
MANY = 1000
_log = logging.getLogger(__name__)


class ImageFolder(ImageSource):
    """All images below a folder, cropped and resized.

    If the folder holds ``train`` and one of ``test``, ``val``, ``valid``, ``validation`` (the first
    that exists), these are the splits. Otherwise a fixed share is held out, by a seeded permutation
    of the sorted relative paths.

    Fewer than ``MANY`` files are decoded at the start. Broken ones are logged and left out; other
    files stay in their split, unless a split would be empty: then the readable files are
    partitioned again. Of more files, none is decoded ahead: for a broken one, the next one that can
    be read stands in whenever it is met.

    The class of an image is its topmost folder, if there are several and no image is outside them.
    For the options see ``ImageFolderConfig``.
    """

    cuts_when_read = True

    def __init__(
        self,
        *,
        root: str = "data/images",
        image_size: int | tuple[int, int] = 64,
        held_out: float = 0.1,
        workers: int | None = None,
        strict: bool = False,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        super().__init__((3, *sides_of(image_size)), **augmentation)
        self.root, self.held_out, self.workers, self.strict = root, held_out, workers, strict
        self.folder = Path(root).expanduser()
        self._others: Counter[str] = Counter()

    def split(self, name: Literal["train", "test"]) -> DatasetSplit:
        """uint8 (3, *image_size), sorted by path."""
        names = self.files[name]
        return DatasetSplit(
            ImageFiles(names, self.shape, self.folder, self.crop),
            self.workers,
            class_numbers(self._within_split(names), self.classes),
            names=names,
            cuts=self.cuts,
            skips=self._total >= MANY and not self.strict,
        )

    def describe(self) -> dict[str, Any]:
        """Adds the number of images, the reason for each broken file by relative path, and the
        number of other files by suffix.
        """
        counts = {name: len(names) for name, names in self.files.items()}
        counts["skipped"] = len(self.broken)
        others = dict(self._others)
        found = {"pictures": counts, "skipped": dict(self.broken), "others": others}
        return super().describe() | found

    def restore(self, described: Mapping[str, Any]) -> None:
        """Take the broken files from ``describe``, unless the number of images has changed.

        This avoids decoding every image again.
        """
        skipped, counts = described.get("skipped", {}), described.get("pictures", {})
        with suppress(AttributeError, KeyError, TypeError, ValueError):  # edited: decoded again
            broken = {name: str(reason) for name, reason in skipped.items()}
            same = sum(counts.values()) == self._total and counts["skipped"] == len(broken)
            if same and broken.keys() <= set(chain(*self._found.values() if broken else ())):
                self.__dict__["broken"] = broken

    @cached_property
    def classes(self) -> list[str] | None:  # type: ignore[override]  # known once files are listed
        """Names of the topmost folders, sorted."""
        return class_names(self._within_split(chain(*self.files.values())))

    @cached_property
    def files(self) -> dict[str, PackedNames]:
        """The relative paths of the readable files of each split."""
        if not self.broken:
            return self._found
        good = {
            part: PackedNames(name for name in names if name not in self.broken)
            for part, names in self._found.items()
        }
        readable = sorted(chain(*good.values()))
        if not self._test_folder and len(readable) > 1 and not all(good.values()):
            good = self._partitioned(readable)
        for part, names in good.items():
            if not names:
                found = f"all {len(self._found[part])} are broken"
                raise self._error(f"readable images to {part} with, but {found}")
        return good

    @cached_property
    def broken(self) -> dict[str, str]:
        """The relative paths of files found to be broken at the start, with the reason; logged.

        Raises:
            SettingError: if there are any and ``strict`` is set.
        """
        if self._total >= MANY:
            return {}
        broken = unreadable(list(chain(*self._found.values())), self.folder)
        if broken:
            count = f"{len(broken)} of {self._total} images cannot be read"
            if self.strict:
                fix = f"remove them or set dataset.strict=false:\n{listed(broken)}"
                raise self._error(f"images that can be read, but {count}", fix)
            _log.warning(
                "dataset.root = %r: %s and are skipped:\n%s", self.root, count, listed(broken)
            )
        return broken

    @cached_property
    def _test_folder(self) -> str | None:
        """The folder of the test split, if the root has folders for both splits."""
        return held_out_folder(self.folder)

    @cached_property
    def _found(self) -> dict[str, PackedNames]:
        check_folder(self.folder, self.root, "images")
        if self._test_folder:
            held = self._test_folder
            parts = (("train", "train/"), ("test", f"{held}/"))
            return {part: PackedNames(self._images(below, 1)) for part, below in parts}
        return self._partitioned(self._images("", 2))

    @property
    def _total(self) -> int:
        return sum(len(names) for names in self._found.values())

    def _within_split(self, names: Iterable[str]) -> Iterable[str]:
        """Relative paths without the folder of the split, if it has one."""
        return (name[name.index("/") + 1 :] for name in names) if self._test_folder else names

    def _partitioned(self, names: Sequence[str]) -> dict[str, PackedNames]:
        parts = zip(("train", "test"), train_test_indices(len(names), self.held_out), strict=True)
        return {part: PackedNames(names[row] for row in rows.tolist()) for part, rows in parts}

    def _images(self, below: str, least: int) -> list[str]:
        """The images in a folder of the root, whose name ends in a slash, or below the root."""
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
        return [below + name for name in found.images] if below else found.images

    def _error(self, expected: str, fix: str = "") -> SettingError:
        return SettingError("dataset.root", self.root, expected, fix)
