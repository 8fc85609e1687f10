"""The base of data sets of your own recordings: audio files, folders of frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vq.data.folder_classes import class_names
from vq.data.segments import Cut, Segment, Segmenter, SegmentSplit, cut, name_of, segments_of
from vq.data.skipping import log_skipped
from vq.data.split_folders import check_folder, held_out_folder
from vqcore.data.partition import train_test_indices
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource


class SegmentedFolder(DataSource):
    """All recordings below a folder, each cut into segments of one length.

    If the folder holds ``train`` and one of ``test``, ``val``, ``valid``, ``validation`` (the first
    that exists), these are the splits. Otherwise a fixed share of the recordings is held out, by a
    seeded permutation of their sorted relative paths; of a single one, its last segments.

    The class of a segment is the topmost folder of its recording, if there are several and no
    recording is outside them.

    Args:
        segmenter: how recordings are found and cut.
        root: as the user wrote it.
        held_out: share of the recordings.
        workers: processes that read ahead; None: by the number of cores.
    """

    def __init__(
        self, segmenter: Segmenter, root: str, held_out: float, workers: int | None
    ) -> None:
        self.segmenter = segmenter
        self.root, self.held_out, self.workers = root, held_out, workers
        self.folder = Path(root).expanduser()

    def split(self, name: Literal["train", "test"]) -> SegmentSplit:
        """Segments in the order of their recordings' paths."""
        segments, folder = self.segments[name], self._folders[name]
        return SegmentSplit(self.segmenter, segments, folder, self.classes, self.workers)

    def describe(self) -> dict[str, Any]:
        """Adds the number of segments, and the reason for each recording that is left out."""
        counts = {name: len(segments) for name, segments in self.segments.items()}
        skipped = self._cut.skipped
        counts["skipped"] = len(skipped)
        return super().describe() | {"segments": counts, "skipped": skipped}

    @cached_property
    def classes(self) -> list[str] | None:  # type: ignore[override]  # known once files are listed
        """Names of the topmost folders, sorted."""
        parts = ((self._folders[name], part) for name, part in self.segments.items())
        return class_names(name_of(path, folder) for folder, part in parts for path, _ in part)

    @cached_property
    def segments(self) -> dict[str, list[Segment]]:
        """Those of each split."""
        counts = self._cut.counts
        parts = {
            name: segments_of({path: counts[path] for path in paths if path in counts})
            for name, paths in self._found.items()
        }
        if not self._test_folder and not all(parts.values()):
            parts = self._again(segments_of(counts))
        for name, part in parts.items():
            if not part:
                reason = next(iter(self._cut.skipped.values()), "there is one segment alone")
                raise self._error(f"{self.segmenter.kinds} to {name} with, but {reason}")
        return parts

    def _again(self, segments: list[Segment]) -> dict[str, list[Segment]]:
        """The partition of what can be used, where a split of all recordings would be empty."""
        paths = list(dict.fromkeys(path for path, _ in segments))
        if len(paths) > 1:
            train = set(self._partitioned(paths)["train"])
            splits = [("train", "test")[path not in train] for path, _ in segments]
        else:
            count = max(1, round(len(segments) * self.held_out))
            splits = ["train"] * max(1, len(segments) - count) + ["test"] * count
        pairs = list(zip(segments, splits, strict=False))
        return {name: [each for each, split in pairs if split == name] for name in self._found}

    @cached_property
    def _cut(self) -> Cut:
        """All recordings found, cut; those that are left out are logged, once."""
        found = [path for paths in self._found.values() for path in paths]
        done = cut(self.segmenter, self.folder, found)
        count = f"{len(done.skipped)} of {len(found)} {self.segmenter.kinds}"
        log_skipped(f"dataset.root = {self.root!r}: {count}", done.skipped)
        return done

    @cached_property
    def _found(self) -> dict[str, list[Path]]:
        """The recordings of each split, readable or not."""
        check_folder(self.folder, self.root, self.segmenter.kinds)
        if self._test_folder:
            return {name: self._below(folder) for name, folder in self._folders.items()}
        return self._partitioned(self._below(self.folder))

    @cached_property
    def _test_folder(self) -> str | None:
        """The folder of the test split, if the root has folders for both splits."""
        return held_out_folder(self.folder)

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """What the paths of each split are relative to."""
        test = self._test_folder
        below = {"train": "train" if test else "", "test": test or ""}
        return {name: self.folder / folder for name, folder in below.items()}

    def _below(self, folder: Path) -> list[Path]:
        try:
            found = self.segmenter.find(folder)
        except OSError as error:
            raise self._error(f"a folder that can be listed ({error})") from error
        if not found:
            raise self._error(f"{self.segmenter.kinds} below {folder}, but there are none")
        return found

    def _partitioned(self, paths: list[Path]) -> dict[str, list[Path]]:
        if len(paths) < 2:  # its segments are partitioned
            return {"train": paths, "test": []}
        parts = zip(("train", "test"), train_test_indices(len(paths), self.held_out), strict=True)
        return {name: [paths[index] for index in rows.tolist()] for name, rows in parts}

    def _error(self, expected: str, fix: str = "") -> SettingError:
        return SettingError("dataset.root", self.root, expected, fix)
