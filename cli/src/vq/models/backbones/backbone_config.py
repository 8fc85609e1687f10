"""Options of the backbones. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from vqcore.plugin.component_config import ComponentConfig


class ConvConfig(ComponentConfig):
    """Options of ``conv``."""

    hidden: PositiveInt = 32
    """Channels of each layer."""
    residual_blocks: NonNegativeInt = 2
    """Residual blocks in the encoder and in the decoder."""
    residual_hidden: PositiveInt | None = None
    """Channels inside a residual block; null: hidden."""
    downsamplings: NonNegativeInt | None = None
    """Strided convolutions, each halving the sides; null: as many as leave 4 to 8 positions."""
    output: Literal["linear", "tanh"] = "linear"
    """Last layer of the decoder; tanh keeps images in [-1, 1]."""


class HierarchicalConfig(ConvConfig):
    """Options of ``hierarchical``."""

    levels: Annotated[int, Field(ge=2)] = 2
    """Levels of latents, each with its own codebook and half the sides of the next finer level."""
    downsamplings: NonNegativeInt | None = None
    """Strided convolutions down to the finest level; null: as many as leave 4 to 8 positions."""


class PatchesConfig(ComponentConfig):
    """Options of ``patches``."""

    size: PositiveInt = 4
    """Side of a patch in pixels. A latent is a patch's values, so dim is channels times size^2."""


class MLPConfig(ComponentConfig):
    """Options of ``mlp``."""

    hidden: PositiveInt = 128
    """Units of each hidden layer."""
    layers: PositiveInt = 2
    """Hidden layers in the encoder and in the decoder."""
    tokens: PositiveInt = 1
    """Latents per sample."""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """Activation after each hidden layer."""
