"""Which files hold the samples that a trained model of audio or video takes."""

from __future__ import annotations

from vq.data.segments import Segmenter
from vqcore.interfaces.dataset import SampleSpec


def segmenter_for(samples: SampleSpec) -> Segmenter | None:
    """How files are cut into such samples; None if these are no segments of recordings.

    Raises:
        UsageError: if the extra ``audio`` is needed and not installed.
    """
    match samples.shape:
        case (channels, length) if samples.sample_rate:
            from vq.data.audio_files import AudioFiles

            return AudioFiles(channels, length, samples.sample_rate)
        case (channels, frames, height, width) if samples.frame_stride:
            from vq.data.frame_files import FrameFiles

            return FrameFiles((channels, frames, height, width), samples.frame_stride)
    return None
