"""Options of the data set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from vqcore import ComponentConfig, OnDisk
from vqcore.plugin.bounds import Workers


class LabelledAudioConfig(ComponentConfig):
    """Options of the data set."""

    root: Annotated[str, Field(min_length=1), OnDisk()] = "data/audio"
    """The folder; each folder in it is a class."""
    length: Annotated[int, Field(ge=64, le=2**20)] = 16384
    """Values of a sample: a longer file is cut, a shorter one filled up with silence."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the files that is held out."""
    workers: Workers = 0
    """Processes that read ahead; 0 reads in the training process."""
