"""A plugin file with a small loss that is trained against the model."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from vqcore import ComponentSpec, LossConfig, TrainedLoss, hookimpl

VQ_API = 1


class CriticConfig(LossConfig):
    """Options of the critic."""

    adaptive: bool = False
    """Keep the term in proportion to the other losses."""


class Critic(TrainedLoss):
    """Tells samples from reconstructions; the model is trained to be taken for samples."""

    autocast = True

    def __init__(self, *, samples, adaptive=False, **options):
        super().__init__(samples=samples, **options)
        self.adaptive = adaptive
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(samples.shape), 16), nn.SiLU(), nn.Linear(16, 1)
        )
        # a large eps: Adam would take whole steps along gradients of rounding error
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=3e-3, eps=1e-3)

    def forward(self, batch):
        return F.softplus(-self.network(batch.reconstruction)).mean()

    def opponent(self, batch):
        real, fake = self.network(batch.inputs), self.network(batch.reconstruction)
        return F.softplus(-real).mean() + F.softplus(fake).mean()


@hookimpl
def vq_losses():
    """The critic."""
    target, config = f"{__name__}:Critic", f"{__name__}:CriticConfig"
    return [ComponentSpec(name="critic", target=target, config=config, summary="a discriminator")]
