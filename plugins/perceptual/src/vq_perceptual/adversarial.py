"""A discriminator trained against the model: VQGAN (Esser et al. 2021, arXiv:2012.09841, eq. 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vq_perceptual.patch_discriminator import CONVOLUTIONS, SMALLEST, PatchDiscriminator
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import LossBatch, TrainedLoss
from vqcore.numerics.stable import in_full_precision, without_autocast


class Game(NamedTuple):
    """What the two sides minimise, as functions of the discriminator's logits."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    model: Callable[[Tensor], Tensor]


GAMES = {
    # Lim and Ye 2017, arXiv:1705.02894
    "hinge": Game(lambda d: F.relu(1 - d), lambda d: F.relu(1 + d), lambda d: -d),
    # Goodfellow et al. 2014, arXiv:1406.2661, section 3
    "non-saturating": Game(lambda d: F.softplus(-d), F.softplus, lambda d: F.softplus(-d)),
    # Mao et al. 2016, arXiv:1611.04076, eq. 9
    "least-squares": Game(lambda d: (d - 1) ** 2, lambda d: d**2, lambda d: (d - 1) ** 2),
}


class Adversarial(TrainedLoss):
    """mean(-D(x_hat)), for a discriminator D that learns to tell samples from reconstructions.

    D gives a logit for each patch. It minimises half the sum of mean(max(0, 1 - D(x))) and
    mean(max(0, 1 + D(x_hat))). With ``non-saturating`` these are log(1 + e^-D(x)) and
    log(1 + e^D(x_hat)), and log(1 + e^-D(x_hat)) for the model; with ``least-squares``
    (D(x) - 1)^2, D(x_hat)^2 and (D(x_hat) - 1)^2.

    The R1 penalty is r1/2 |dD/dx|^2 at the samples, D summed over the patches, on every
    ``r1_every``-th step and as many times (Mescheder et al. 2018, arXiv:1801.04406, eq. 9; Karras
    et al. 2020, arXiv:1912.04958, section 3.1). D sees samples scaled to [-1, 1].

    Cost: three passes through D and three back in a step, and the optimizer's two numbers for each
    of its weights: 2.8 M with 64 channels and 3 layers.

    Raises:
        SettingError: for samples that are no signals, images or clips, or have a side below 3.
    """

    autocast = True

    def __init__(
        self,
        *,
        samples: SampleSpec,
        loss: Literal["hinge", "non-saturating", "least-squares"] = "hinge",
        adaptive: bool = True,
        layers: int | None = None,
        channels: int = 64,
        spectral_norm: bool = True,
        r1: float = 0.0,
        r1_every: int = 16,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.9),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(samples=samples, **options)
        shape = samples.shape
        if len(shape) - 1 not in CONVOLUTIONS or min(shape[1:]) < SMALLEST:
            expected = (
                "signals (C, T), images or clips (C, T, H, W) with sides of at least "
                f"{SMALLEST}, found samples of shape {shape}"
            )
            raise SettingError("losses", "adversarial", expected, "leave it out")
        self.game, self.adaptive, self.r1, self.r1_every = GAMES[loss], adaptive, r1, r1_every
        self.discriminator = PatchDiscriminator(shape, layers, channels, normalized=spectral_norm)
        self.optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), lr, betas, eps, weight_decay
        )
        self.optimizer.register_step_post_hook(lambda *_: self.discriminator.advance())

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        return self.game.model(self._logits(batch.reconstruction)).mean()

    def opponent(self, batch: LossBatch) -> Tensor:
        """See ``TrainedLoss.opponent``."""
        real, fake = self._logits(batch.inputs), self._logits(batch.reconstruction)
        loss = (self.game.real(real).mean() + self.game.fake(fake).mean()) / 2
        if self.r1 and batch.step % self.r1_every == 0:
            loss = loss + self.r1_every * self.r1 / 2 * self._gradient_penalty(batch.inputs)
        return loss

    def _gradient_penalty(self, samples: Tensor) -> Tensor:
        """|dD/dx|^2, mean over the samples; in float32, since it has a second derivative."""
        x = self._scaled(samples).detach().requires_grad_()
        with without_autocast(x.device.type):
            logits = self.discriminator(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().flatten(1).sum(1).mean()

    def _logits(self, samples: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(self._scaled(samples))
        return logits

    def _scaled(self, samples: Tensor) -> Tensor:
        """From the range of the data to [-1, 1]."""
        low, high = self.samples.value_range
        return (in_full_precision(samples) - low) * (2 / (high - low)) - 1
