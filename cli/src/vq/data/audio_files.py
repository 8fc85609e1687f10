"""Audio files as segments (C, T) of one length and sample rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vq.data.find_images import find_files
from vq.data.segments import Segmenter
from vq.files import check_regular
from vq.optional_dependencies import require
from vqcore.errors import RunError, SettingError, VQError, describe_error

#: By suffix, what libsndfile seeks in to the sample; in Ogg files it does not.
SUFFIXES = frozenset({".wav", ".flac", ".aif", ".aiff", ".mp3"})


class AudioFiles(Segmenter):
    """Segments follow one another from the start of a file; the last is filled up with silence.

    Args:
        channels: 1 (the mean of a file's channels) or 2 (a single one is taken twice).
        length: T.
        rate: in Hz; files of another rate are resampled. None: that of the first file counted, and
            files of another rate are an error.
    """

    kinds = "audio files (wav, flac, aiff or mp3)"

    def __init__(self, channels: int, length: int, rate: int | None) -> None:
        require("audio", "reading audio", "soundfile", "scipy")
        self.channels, self.length, self.rate = channels, length, rate
        self._is_own_rate = rate is None

    def find(self, root: Path) -> list[Path]:
        """See ``Segmenter.find``."""
        return [root / name for name in find_files(root, SUFFIXES)[0]]

    def count(self, recording: Path) -> int:
        """See ``Segmenter.count``.

        Raises:
            SettingError: if no rate was given and the files differ in theirs.
        """
        about = _about(recording)
        if not about.frames:
            raise RunError("it holds no samples")
        if about.channels > self.channels == 2:
            raise RunError(f"{about.channels} channels, where 1 or 2 are expected")
        self.rate = self.rate or about.samplerate
        if self._is_own_rate and about.samplerate != self.rate:
            found = f"{self.rate} and {about.samplerate} found, the latter in {recording}"
            fix = "set it, and files of other rates are resampled"
            raise SettingError("dataset.sample_rate", None, f"files of one rate, {found}", fix)
        return math.ceil(about.frames * self.rate / (about.samplerate * self.length))

    def read(self, recording: Path, number: int) -> Tensor:
        """Float32 (C, T) in [-1, 1]; see ``Segmenter.read``."""
        start = number * self.length
        try:
            with _opened(recording) as file:
                rate = self.rate or file.samplerate
                values = _resampled(file, start, start + self.length, rate)
            if not np.isfinite(values).all():
                raise RunError("it holds NaN or inf")
        except Exception as error:  # libsndfile's own kinds, and those of damaged files
            raise RunError(f"{recording} cannot be read: {_reason(error)}") from error
        if self.channels == 1:
            values = values.mean(1, keepdims=True)
        silence = np.zeros((self.length, self.channels), np.float32)
        silence[: len(values)] = values  # a single channel is taken twice
        return torch.from_numpy(np.ascontiguousarray(silence.T))


def write_wav(path: Path, values: Tensor, rate: int) -> None:
    """Write float samples (C, T) as 16-bit PCM; what is beyond [-1, 1] is clipped.

    Raises:
        FileExistsError, OSError: if the file exists or cannot be written.
    """
    require("audio", "writing audio", "soundfile")
    import soundfile

    with path.open("xb") as file:
        soundfile.write(file, values.float().cpu().T.numpy(), rate, "PCM_16", format="WAV")


def _opened(path: Path) -> Any:
    """A ``soundfile.SoundFile``, which has ``frames``, ``samplerate`` and ``channels``."""
    import soundfile

    check_regular(path)  # a FIFO would be waited for
    return soundfile.SoundFile(str(path))


def _about(path: Path) -> Any:
    try:
        with _opened(path) as file:
            return file
    except Exception as error:  # libsndfile's own kinds, and those of damaged files
        raise RunError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its path."""
    if isinstance(error, VQError):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or (
        getattr(error, "error_string", "") or describe_error(error)
    )


def _resampled(file: Any, start: int, stop: int, rate: int) -> np.ndarray:
    """Float32 (n, C): samples ``start`` to ``stop`` of a file, counted at another rate.

    They are those of the whole file resampled. So what is read begins where a sample of the one
    rate falls on one of the other, and is longer by the filter at each end.
    """
    common = math.gcd(rate, file.samplerate)
    up, down = rate // common, file.samplerate // common
    if up == down:
        return _samples(file, start, stop)
    from scipy.signal import resample_poly

    margin = 10 * max(up, down) // up + 1  # half of resample_poly's filter
    first = max(start * down // up - margin, 0) // down
    last = -(-(stop * down // up + margin) // down)
    values = resample_poly(_samples(file, first * down, last * down), up, down)
    return values[start - first * up : stop - first * up].astype(np.float32)


def _samples(file: Any, start: int, stop: int) -> np.ndarray:
    stop = min(stop, file.frames)
    file.seek(start)
    values = file.read(stop - start, dtype="float32", always_2d=True)
    if len(values) < stop - start:
        raise RunError(f"it ends after {start + len(values)} of {file.frames} samples")
    return values
