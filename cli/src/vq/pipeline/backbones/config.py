"""Options of the backbones."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from vqcore.config import ComponentConfig


class ConvConfig(ComponentConfig):
    """Options of the convolutional backbone."""

    hidden: PositiveInt = 32
    """Channels of every layer."""
    residual_blocks: NonNegativeInt = 2
    """Residual blocks after the encoder's and before the decoder's strided convolutions."""
    downsamplings: NonNegativeInt | None = None
    """Strided convolutions, each halving the sides; by default as many as leave 4 to 8 positions a side."""
    output: Literal["linear", "tanh"] = "linear"
    """Last layer of the decoder; tanh keeps pictures in [-1, 1]."""


class MLPConfig(ComponentConfig):
    """Options of the fully connected backbone."""

    hidden: PositiveInt = 128
    """Units of every layer."""
    layers: PositiveInt = 2
    """Hidden layers of the encoder and of the decoder."""
    tokens: PositiveInt = 1
    """Latents of a sample."""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """What follows every hidden layer."""
