"""Options of the backbones. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vqcore.plugin.bounds import Depth, Size, check_total
from vqcore.plugin.component_config import ActsIf, ComponentConfig

Halvings = Annotated[int, Field(ge=0, le=16)]


class ConvConfig(ComponentConfig):
    """Options of ``conv``."""

    hidden: Size = 32
    """Channels of each layer."""
    residual_blocks: Annotated[int, Field(ge=0, le=1024)] = 2
    """Residual blocks in the encoder and in the decoder."""
    residual_hidden: Annotated[Size | None, ActsIf("residual_blocks")] = None
    """Channels inside a residual block; null: hidden."""
    downsamplings: Halvings | None = None
    """Strided convolutions, each halving the sides; null: to 4-8 positions, a signal to 33-64."""
    output: Literal["linear", "tanh"] = "linear"
    """Last layer of the decoder; tanh keeps images in [-1, 1]."""
    init: Literal["he", "torch"] | None = None
    """Initial weights, He's or torch's own; null: he if colour or four times halved, else torch."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        inner = self.residual_hidden or self.hidden
        block = 10 * inner * self.hidden  # kernels of 3 x 3 and of 1 x 1
        strided = 16 * self.hidden**2 * (self.downsamplings or 1)
        check_total("hidden and residual_blocks", 2 * (self.residual_blocks * block + strided))
        return self


class HierarchicalConfig(ConvConfig):
    """Options of ``hierarchical``."""

    levels: Annotated[int, Field(ge=2, le=16)] = 2
    """Levels of latents, each with its own codebook and half the sides of the next finer level."""
    downsamplings: Halvings | None = None
    """Strided convolutions down to the finest level; null: as many as leave 4 to 8 positions."""


class PatchesConfig(ComponentConfig):
    """Options of ``patches``."""

    size: Annotated[int, Field(gt=0, le=1024)] = 4
    """Side of a patch in pixels. A latent is a patch's values, so dim is channels times size^2."""


class MLPConfig(ComponentConfig):
    """Options of ``mlp``."""

    hidden: Size = 128
    """Units of each hidden layer."""
    layers: Depth = 2
    """Hidden layers in the encoder and in the decoder."""
    tokens: Size = 1
    """Latents per sample."""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """Activation after each hidden layer."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_total("hidden and layers", 2 * self.layers * self.hidden**2)
        return self
