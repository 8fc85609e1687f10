"""The variational autoencoder on any manifold (Kingma and Welling 2014, arXiv:1312.6114)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vq.models.bottlenecks.continuous import ContinuousBottleneck, tangent_scale
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics import counter_rng

#: Smallest standard deviation, relative to the prior's.
MIN_DEVIATION = 1e-4
#: Pairs of antithetic draws that estimate the expectation in eval mode.
PAIRS = 8


class Gaussian(ContinuousBottleneck):
    """A wrapped normal per latent (Nagano et al. 2019, arXiv:1902.02992, section 3).

    The encoder emits a mean m and a raw scale s, D numbers each. A tangent vector at the origin is
    drawn, v ~ N(0, diag sigma^2) with sigma = r softplus(s). Its point, translated by
    expmap0(tangent(m)), is the latent. The prior is the wrapped normal at the origin with standard
    deviation r per dimension, where r is the scale of ``tangent``: 1 on flat space, gain/sqrt(D) on
    curved ones, and that of each factor on a product. Training draws from torch's own generator,
    which activation checkpointing replays.

    In eval mode the latent is the expectation of the draws in tangent coordinates. On flat space
    that is m; on hyperbolic space it is farther out than m, as nearly all draws are.

    The KL divergence of all latents of a sample is divided by the number of values of the sample,
    since reconstruction is a mean over values. With Bernoulli likelihood, ``kl_weight`` 1 is the
    evidence lower bound per value. With squared error, the weight is twice the decoder's variance.

    The divergence is in closed form on flat space, flat factors of a product included, elsewhere a
    single draw of log q - log p. On the sphere, densities neglect the mass that wraps more than
    halfway around: of the prior, 2e-3 at D = 1, 5e-5 at D = 2, and less above.
    ``kl_weight`` is beta.
    """

    name = "gaussian"
    parts = 2
    _scales: Tensor | None
    _flat_ones: Tensor | None  #: (D,), 1 for flat coordinates and 0 for others, if there are both.

    def __init__(
        self,
        *,
        width: int,
        dim: int,
        manifold: Manifold,
        kl_weight: float = 1.0,
        channel_first: bool = False,
    ) -> None:
        super().__init__(width=width, dim=dim, manifold=manifold, channel_first=channel_first)
        self.kl_weight = kl_weight
        scale = tangent_scale(manifold.tangent, dim)
        self._scale, of_each = (scale, None) if isinstance(scale, float) else (1.0, scale.float())
        self.register_buffer("_scales", of_each, persistent=False)
        flat = manifold.flat_coordinates(dim)
        self.flat = all(flat)
        mixed = torch.tensor(flat).float() if any(flat) and not self.flat else None
        self.register_buffer("_flat_ones", mixed, persistent=False)

    @property
    def prior_scale(self) -> float | Tensor:
        """r, a number, or that of each dimension, (D,)."""
        return self._scale if self._scales is None else self._scales

    def vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``ContinuousBottleneck.vectors``; the loss is ``kl``."""
        mean, raw = z.chunk(2, -1)
        mean = self.manifold.tangent(mean)
        sigma = self.prior_scale * (F.softplus(raw) + MIN_DEVIATION)
        v = sigma * (torch.randn_like(sigma) if self.training else _fixed_noise(0, sigma))
        u = translated(self.manifold, mean, v)
        kl = self._divergence(mean, sigma, v, u).sum() / max(z.shape[0], 1)  # of a sample
        losses = {"kl": self.kl_weight * kl / values}
        return (u if self.training else self._expectation(mean, sigma)), losses

    def _expectation(self, mean: Tensor, sigma: Tensor) -> Tensor:
        """Mean of the latents in tangent coordinates, by the same antithetic draws in each call."""
        if self.flat:
            return mean
        total = torch.zeros_like(mean)
        for number in range(PAIRS):
            v = sigma * _fixed_noise(number, sigma)
            pair = translated(self.manifold, mean, v) + translated(self.manifold, mean, -v)
            total = total + pair
        return total / (2 * PAIRS)

    def _divergence(self, mean: Tensor, sigma: Tensor, v: Tensor, u: Tensor) -> Tensor:
        """KL divergence (...) from posterior to prior, or a draw of it: u from 0 is v from m."""
        if self.flat:
            return normal_kl(mean / self.prior_scale, sigma / self.prior_scale)
        prior = torch.ones_like(sigma) * self.prior_scale
        if self._flat_ones is None:
            return self._drawn_divergence(sigma, v, u, prior)
        flat, one = self._flat_ones.to(sigma.dtype), torch.ones_like(sigma)
        known = normal_kl(flat * mean / prior, torch.lerp(one, sigma / prior, flat))
        curved = 1 - flat  # where it is 0, both densities are the same
        return known + self._drawn_divergence(
            torch.lerp(prior, sigma, curved), curved * v, curved * u, prior
        )

    def _drawn_divergence(self, sigma: Tensor, v: Tensor, u: Tensor, prior: Tensor) -> Tensor:
        posterior_density = wrapped_log_density(self.manifold, v, sigma)
        return posterior_density - wrapped_log_density(self.manifold, u, prior)


def translated(manifold: Manifold, mean: Tensor, v: Tensor) -> Tensor:
    """The point of tangent vectors v (..., D), translated by the point of ``mean`` (..., D).

    Translation along a geodesic carries vectors as parallel transport does, so a normal v becomes a
    wrapped normal around that point. In tangent coordinates at the origin, (..., D).
    """
    return manifold.logmap0(manifold.translate(manifold.expmap0(mean), manifold.expmap0(v)))


def wrapped_log_density(manifold: Manifold, v: Tensor, sigma: Tensor) -> Tensor:
    """Log density (...) of a wrapped normal at the point to which v (..., D) leads from its centre.

    Relative to the manifold's volume, up to a factor common to all densities on it:
    log N(v; 0, diag sigma^2) minus the log volume element of ``expmap0`` at v.
    """
    normal = -0.5 * (v / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    return normal.sum(-1) - manifold.log_volume(v)


def normal_kl(mean: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mean, diag sigma^2) || N(0, I)), (...) of (..., D)."""
    return 0.5 * (mean.square() + sigma.square() - 1).sum(-1) - sigma.log().sum(-1)


def _fixed_noise(number: int, like: Tensor) -> Tensor:
    """Standard normal (B, ..., D), the same in each call and for each sample of any batch."""
    return counter_rng.normal(number, *like.shape[1:], device=like.device).to(like.dtype)
