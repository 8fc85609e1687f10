"""Options of the backbones. Torch-free."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from vq.config.sizes import SizeName, with_size
from vqcore.plugin.bounds import Depth, Scale, Size, check_total
from vqcore.plugin.component_config import (
    ActsIf,
    BackboneRef,
    ComponentConfig,
    ComponentRef,
    Shorthand,
)

Halvings = Annotated[int, Field(ge=0, le=16)]
Multiplier = Annotated[int, Field(gt=0, le=1024)]


def _in_one_message(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError as error:  # one for each of the two types
        raise ValueError("a number from 1 to 65536, or a list of one for each axis") from error


def _sized(backbone: str) -> Any:
    """A validator that fills in what a named size sets."""
    return model_validator(mode="before")(partial(with_size, backbone))


PatchSize = Annotated[Size | tuple[Size, ...], WrapValidator(_in_one_message)]


class ConvConfig(ComponentConfig):
    """Options of ``conv``."""

    sets_dim = False

    size: Annotated[SizeName | None, Shorthand()] = None
    """hidden/residual_blocks/residual_hidden: 32/2/32, 64/2/32, 128/2/32, 256/2/256."""
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
    checkpointing: Annotated[bool, ActsIf("residual_blocks")] = False
    """Keep the inputs of blocks alone in training and compute them again: less memory, slower."""

    _with_size = _sized("conv")

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


class ResNetConfig(ComponentConfig):
    """Options of ``resnet``."""

    sets_dim = False

    size: Annotated[SizeName | None, Shorthand()] = None
    """Values of channels/blocks: 32/1, 64/2, 128/2, 128/4; either may be given beside it."""
    channels: Size = 128
    """Channels of the first convolution, and of a level with multiplier 1."""
    multipliers: Annotated[tuple[Multiplier, ...], Field(min_length=1, max_length=17)] | None = None
    """Channels of each level, times channels; null: 1, 1, 2, 2, 4, to 8 positions a side."""
    blocks: Depth = 2
    """Residual blocks of a level in the encoder; the decoder has one more."""
    attention: tuple[Size, ...] | None = None
    """Sizes (shorter side) of levels with attention besides the middle; null: the smallest."""
    init: Literal["he", "torch"] = "he"
    """Initial weights: blocks that begin as the identity, or torch's own, as published."""
    checkpointing: bool = False
    """Keep the inputs of blocks alone in training and compute them again: less memory, slower."""

    _with_size = _sized("resnet")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        widths = [self.channels * each for each in self.multipliers or (1, 1, 2, 2, 4)]
        largest = 2**16
        if max(widths) > largest:
            raise ValueError(f"channels times multipliers of at most {largest}, not {max(widths)}")
        block = 2 * 9  # two kernels of 3 x 3
        total = (2 * self.blocks + 1) * block * sum(width**2 for width in widths)
        check_total("channels, multipliers and blocks", total)
        return self


class ViTConfig(ComponentConfig):
    """Options of ``vit``."""

    sets_dim = False

    size: Annotated[SizeName | None, Shorthand()] = None
    """Values of width/depth/heads: 192/12/3, 512/8/8, 768/12/12, 1024/24/16."""
    patch_size: PatchSize | None = None
    """Side of a patch, or one number an axis; null leaves at most 8 a side, of a signal 64."""
    width: Size = 128
    """Dimension of a token in the transformer."""
    depth: Depth = 4
    """Blocks of the encoder, each an attention and an MLP."""
    decoder_depth: Depth | None = None
    """Blocks of the decoder; null: depth."""
    heads: Depth = 4
    """Heads of the attention; they divide the width."""
    mlp_ratio: Annotated[float, Field(ge=0.01, le=64)] = 4.0
    """Units of the MLP in a block, relative to the width."""
    tokens: Size | None = None
    """Latents of a sample, in one row as in TiTok; null: one a patch, as they lie."""
    checkpointing: bool = False
    """Keep the inputs of blocks alone in training and compute them again: less memory, slower."""

    _with_size = _sized("vit")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads that divide width = {self.width}, not {self.heads}")
        blocks = self.depth + (self.decoder_depth or self.depth)
        numbers = blocks * (4 + 2 * self.mlp_ratio) * self.width**2
        check_total("width and depth", int(numbers))
        return self


class PatchesConfig(ComponentConfig):
    """Options of ``patches``."""

    sets_dim = True

    size: Annotated[int, Field(gt=0, le=1024)] = 4
    """Side of a patch in pixels. A latent is a patch's values, so dim is channels times size^2."""


class DistanceConfig(ComponentConfig):
    """Options of ``distance``."""

    sets_dim = False

    temperature: Scale = 0.5
    """Distance by which the odds between two nodes change by the factor e."""


class ClassifierConfig(ComponentConfig):
    """Options of ``classifier``."""

    sets_dim = False

    inner: BackboneRef = ComponentRef(name="vq-cli/conv")
    """The backbone whose encoder it takes, with its own options; its decoder is dropped."""
    hidden: Annotated[int, Field(ge=0, le=65536)] = 128
    """Units of the layer between the latents of a sample and its classes; 0: a linear map."""


class MLPConfig(ComponentConfig):
    """Options of ``mlp``."""

    sets_dim = False

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
