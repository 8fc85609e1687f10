"""Reading WAV files with the standard library."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from vqcore import RunError


class Clips(Dataset[Tensor]):
    """The first ``length`` values of each file, (1, length) float32; channels are averaged."""

    def __init__(self, files: Sequence[Path], length: int, rate: int) -> None:
        self.files, self.length, self.rate = files, length, rate

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Tensor:
        path = self.files[number]
        try:
            with wave.open(str(path), "rb") as file:
                form = file.getsampwidth(), file.getframerate()
                channels, content = file.getnchannels(), file.readframes(self.length)
        except (OSError, EOFError, wave.Error) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if form != (2, self.rate):
            bits = f"{8 * form[0]} bits at {form[1]} Hz"
            raise RunError(f"{path} has {bits}, where 16 bits at {self.rate} Hz are expected")
        clip = torch.zeros(1, self.length)
        if content:
            values = torch.frombuffer(bytearray(content), dtype=torch.int16).view(-1, channels)
            clip[0, : len(values)] = values.float().mean(1) / 2**15
        return clip
