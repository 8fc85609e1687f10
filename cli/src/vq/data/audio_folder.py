"""A folder of your own audio files."""

from __future__ import annotations

from typing import Literal

from vq.data.audio_files import AudioFiles
from vq.data.segmented_folder import SegmentedFolder


class AudioFolder(SegmentedFolder):
    """Segments (C, T) of all audio files below a folder, in [-1, 1].

    A file gives segments one after the other; the last one is filled up with silence. Files are
    found by suffix: .wav, .flac, .aif, .aiff and .mp3. For the options see ``AudioFolderConfig``.

    Raises:
        UsageError: if the extra ``audio`` is not installed.
    """

    segmenter: AudioFiles

    def __init__(
        self,
        *,
        root: str = "data/audio",
        length: int = 16384,
        channels: Literal[1, 2] = 1,
        sample_rate: int | None = None,
        held_out: float = 0.1,
        workers: int | None = None,
    ) -> None:
        super().__init__(AudioFiles(channels, length, sample_rate), root, held_out, workers)
        self.shape = (channels, length)

    @property
    def sample_rate(self) -> int | None:  # type: ignore[override]  # known once files are listed
        """In Hz: that of the option, or of the files."""
        return self.segmenter.rate
