"""Long recordings, each cut into segments of the same length: what audio and video share."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from vq.data.folder_classes import class_numbers
from vqcore.data.dataset_split import DatasetSplit
from vqcore.errors import RunError, printable

#: A recording and the number of a segment in it.
Segment = tuple[Path, int]


class Segmenter(ABC):
    """How recordings of one kind are found and cut.

    Attributes:
        kinds: what a folder of them holds, in words.
    """

    kinds: str

    @abstractmethod
    def find(self, root: Path) -> list[Path]:
        """All recordings below a folder, sorted by relative path.

        Raises:
            OSError: if a folder cannot be listed.
        """

    @abstractmethod
    def count(self, recording: Path) -> int:
        """The number of its segments, from its header alone where it has one.

        Raises:
            RunError: if it cannot be used, with the reason.
        """

    @abstractmethod
    def read(self, recording: Path, number: int) -> Tensor:
        """One segment: floats as the model takes them, or uint8.

        Raises:
            RunError: if it cannot be read, naming the file.
        """


class SegmentFiles(Dataset[Tensor]):
    """Segments that are read on access."""

    def __init__(self, segmenter: Segmenter, segments: Sequence[Segment]) -> None:
        self.segmenter = segmenter
        self.segments = [(str(path), number) for path, number in segments]

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> Tensor:
        path, number = self.segments[index]
        return self.segmenter.read(Path(path), number)


class SegmentSplit(DatasetSplit):
    """Segments with their names, such as ``birds/wren.wav/00003``, and classes.

    Args:
        segmenter: reads them.
        segments: in the order in which they are served.
        root: folder that names are relative to.
        classes: names of the topmost folders, or None.
        workers: see ``DatasetSplit``.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        segments: Sequence[Segment],
        root: Path,
        classes: Sequence[str] | None,
        workers: int | None,
    ) -> None:
        recordings = {path: name_of(path, root) for path, _ in segments}
        labels = class_numbers([recordings[path] for path, _ in segments], classes)
        paths = (posixpath.join(recordings[path], f"{number:05d}") for path, number in segments)
        names = [path.removeprefix("./") for path in paths]
        super().__init__(
            SegmentFiles(segmenter, segments), workers, labels, names=names, skips=True
        )


@dataclass(frozen=True)
class Cut:
    """Recordings and how many segments they have.

    Attributes:
        counts: of each recording that can be used, in order.
        skipped: the reason for each other one, by its path relative to the folder.
    """

    counts: dict[Path, int]
    skipped: dict[str, str]


def cut(segmenter: Segmenter, root: Path, recordings: Sequence[Path]) -> Cut:
    """Count the segments of recordings below ``root``."""
    counts: dict[Path, int] = {}
    skipped: dict[str, str] = {}
    for path in recordings:
        try:
            counts[path] = segmenter.count(path)
        except RunError as error:
            skipped[name_of(path, root)] = str(error)
    return Cut(counts, skipped)


def segments_of(counts: Mapping[Path, int]) -> list[Segment]:
    """All segments, recording by recording."""
    return [(path, number) for path, count in counts.items() for number in range(count)]


def name_of(path: Path, root: Path) -> str:
    """The path relative to a folder, with slashes."""
    return printable(path.relative_to(root).as_posix())
