"""Decoded audio and video as files: the segments of a recording one after the other again."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vq.data.audio_files import write_wav
from vq.data.pixels import to_pixels
from vq.files import writing

#: A recording's name and how many segments it has here, joined along T.
Recording = tuple[str, int, Tensor]


def write_audio(
    folder: Path, recordings: Iterable[Recording], rate: int, report: Callable[[int], None]
) -> int:
    """Write each recording (C, T) as a WAV file of its name; returns the number of segments.

    Raises:
        RunError: if a file cannot be written.
        UsageError: if the extra ``audio`` is not installed.
    """
    done = 0
    for name, count, values in recordings:
        file = folder / name
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_wav(file, values, rate)
        done += count
        report(done)
    return done


def write_frames(
    folder: Path,
    recordings: Iterable[Recording],
    value_range: tuple[float, float],
    report: Callable[[int], None],
) -> int:
    """Write each recording (C, T, H, W) as a folder of numbered PNG files; returns the number of
    segments.

    Raises:
        RunError: if a file cannot be written.
    """
    done = 0
    for name, count, values in recordings:
        frames = to_pixels(values.transpose(0, 1), value_range)
        with writing(folder / name):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number, pixels in enumerate(frames):
                with (folder / name / f"{number:06d}.png").open("xb") as out:
                    Image.fromarray(pixels).save(out, "PNG")
        done += count
        report(done)
    return done


def joined(
    batches: Iterable[Tensor], names: list[str] | None, rename: Callable[[list[str]], list[str]]
) -> Iterator[Recording]:
    """Segments (B, C, T, ...) of the same recording, which follow one another, as one.

    Args:
        batches: the decoded segments.
        names: of each segment, its recording's name and a number, as in ``wren.wav/00003``. None:
            every segment is a recording.
        rename: the names of recordings as those of what is written.
    """
    segments = (segment for batch in batches for segment in batch.cpu())
    if names is None:
        numbered = ((f"{number:06d}", segment) for number, segment in enumerate(segments))
        yield from ((rename([name])[0], 1, segment) for name, segment in numbered)
        return
    recordings = [posixpath.dirname(name) or name for name in names]
    found = list(dict.fromkeys(recordings))
    written = dict(zip(found, rename(found), strict=True))
    for name, group in itertools.groupby(zip(recordings, segments, strict=False), itemgetter(0)):
        parts = [segment for _, segment in group]
        yield written[name], len(parts), torch.cat(parts, 1)
