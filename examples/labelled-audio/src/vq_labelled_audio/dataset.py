"""The data set: it lists the files, and serves them as splits."""

from __future__ import annotations

import wave
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from vqcore import DatasetSplit, DataSource, SettingError, train_test_indices

from vq_labelled_audio.clips import Clips


class LabelledAudio(DataSource):
    """The first T values of each 16-bit WAV file ``root/CLASS/*.wav``, (1, T) in [-1, 1].

    A fixed share of the files is held out. Options: see ``LabelledAudioConfig``.
    """

    def __init__(
        self, *, root: str, length: int = 16384, held_out: float = 0.1, workers: int = 0
    ) -> None:
        self.shape = (1, length)
        self.root, self.held_out, self.workers = root, held_out, workers

    @cached_property
    def files(self) -> list[Path]:
        """All files, sorted, so that the splits are the same on every machine.

        Raises:
            SettingError: if there are fewer than two.
        """
        found = sorted(path for path in Path(self.root).glob("*/*.wav") if path.is_file())
        if len(found) < 2:
            expected = f"a folder of folders with WAV files, {len(found)} found"
            raise SettingError("dataset.root", self.root, expected)
        return found

    @property
    def classes(self) -> list[str]:  # type: ignore[override]  # known once files are listed
        """The names of the folders."""
        return sorted({path.parent.name for path in self.files})

    @cached_property
    def sample_rate(self) -> int:  # type: ignore[override]  # known once files are listed
        """That of the first file, in Hz; one of another rate cannot be read."""
        with wave.open(str(self.files[0]), "rb") as file:
            return file.getframerate()

    def split(self, name: Literal["train", "test"]) -> DatasetSplit:
        """The files of a split, read when they are needed."""
        train, test = train_test_indices(len(self.files), self.held_out)
        files = [self.files[number] for number in (train if name == "train" else test).tolist()]
        return DatasetSplit(
            Clips(files, self.shape[1], self.sample_rate),
            self.workers,
            self._labels(files),
            names=[path.relative_to(self.root).as_posix() for path in files],
        )

    def _labels(self, files: list[Path]) -> Tensor:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([numbers[path.parent.name] for path in files])
