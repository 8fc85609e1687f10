"""Options of the losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vqcore.plugin.bounds import Decay, Depth, Epsilon, Rate, Seed, Size, Steps, Weight
from vqcore.plugin.component_config import ActsIf, LossConfig, OnDisk

#: What ``weights`` says in place of a path.
RANDOM = "random"


class PerceptualConfig(LossConfig):
    """Options of LPIPS."""

    weights: Annotated[str, Field(min_length=1), OnDisk(words=(RANDOM,))]
    """The file of the network's ImageNet weights, as torchvision saves it; or the word random."""
    network: Literal["vgg", "alex", "squeeze"] = "vgg"
    """The network: VGG16, AlexNet or SqueezeNet 1.1."""
    seed: Annotated[Seed, ActsIf("weights", (RANDOM,))] = 0
    """Seed of random weights."""


class AdversarialConfig(LossConfig):
    """Options of the discriminator."""

    loss: Literal["hinge", "non-saturating", "least-squares"] = "hinge"
    """What the discriminator and the model minimise."""
    adaptive: bool = True
    """Also scale the term so that its gradient is as long as that of the other losses."""
    layers: Depth | None = None
    """Strided convolutions; null takes at most 3, as long as 8 positions a side are left."""
    channels: Size = 64
    """Channels of the first convolution; each further one doubles them, up to 8 times as many."""
    spectral_norm: bool = True
    """Divide the discriminator's weights by their largest singular value."""
    r1: Weight = 0.0
    """Weight (gamma) of the R1 penalty on the discriminator's gradient at samples; 0 has none."""
    r1_every: Annotated[Steps, ActsIf("r1", above=0)] = 16
    """Compute the R1 penalty on every n-th step, times n."""
    lr: Rate = 1e-3
    """Learning rate of the discriminator's optimizer, AdamW."""
    betas: tuple[Decay, Decay] = (0.5, 0.9)
    """Decay of its running mean and running square of the gradient."""
    eps: Epsilon = 1e-8
    """Added to its denominator."""
    weight_decay: Weight = 0.0
    """Its decoupled weight decay."""
