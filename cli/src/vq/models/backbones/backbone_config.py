"""Options of the backbones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from vqcore.plugin.component_config import ComponentConfig


class ConvConfig(ComponentConfig):
    """Options of the convolutional backbone."""

    hidden: PositiveInt = 32
    """Channels of every layer."""
    residual_blocks: NonNegativeInt = 2
    """Residual blocks after the encoder's and before the decoder's strided convolutions."""
    residual_hidden: PositiveInt | None = None
    """Channels inside a residual block; left out, hidden."""
    downsamplings: NonNegativeInt | None = None
    """Strided convolutions, each halving the sides; by default as many as leave 4 to 8 positions a side."""
    output: Literal["linear", "tanh"] = "linear"
    """Last layer of the decoder; tanh keeps pictures in [-1, 1]."""


class HierarchicalConfig(ConvConfig):
    """Options of the convolutional backbone with several levels of latents."""

    levels: Annotated[int, Field(ge=2)] = 2
    """HierarchicalBottleneck of latents, each with a codebook of its own and half the sides of the next finer one."""
    downsamplings: NonNegativeInt | None = None
    """Strided convolutions down to the finest level; by default as many as leave it 4 to 8 positions a side."""


class PatchesConfig(ComponentConfig):
    """Options of the blocks of a picture."""

    size: PositiveInt = 4
    """Side of a block in pixels; a latent is a block's values, so that dim is channels times size^2."""


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
