"""Registers the data set ``labelled-audio``."""

from __future__ import annotations

from vqcore import ComponentSpec, hookimpl

VQ_API = 1


@hookimpl
def vq_datasets() -> list[ComponentSpec]:
    """The data sets of this plugin."""
    return [
        ComponentSpec(
            name="labelled-audio",
            target="vq_labelled_audio.dataset:LabelledAudio",
            config="vq_labelled_audio.config:LabelledAudioConfig",
            summary="WAV files in a folder for each class, the start of each file",
        )
    ]
