"""The variational autoencoder on any manifold (Kingma and Welling 2014, arXiv:1312.6114; arXiv:1902.02992)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vq.models.bottlenecks.continuous import ContinuousBottleneck, unit
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics import counter_rng

#: Smallest standard deviation, relative to the prior's.
NARROWEST = 1e-4
#: Pairs of opposite draws that the expectation in eval is estimated with.
PAIRS = 8


class Gaussian(ContinuousBottleneck):
    """A wrapped normal around the encoder's point for each latent (Nagano et al. 2019, arXiv:1902.02992, section 3).

    The encoder emits a mean m and a raw scale s, D numbers each. v ~ N(0, diag sigma^2), sigma = r softplus(s), is a
    tangent vector at the origin; its point, translated by expmap0(tangent(m)), is the latent. The prior is the wrapped
    normal at the origin of standard deviation r a dimension, where r is what ``tangent`` makes of 1: 1 on flat space,
    gain/sqrt(D) on curved ones. Training draws from torch's own generator, which activation checkpointing repeats.

    In eval the latent is what the decoder sees on average, the expectation in tangent coordinates. On flat space that
    is m. On hyperbolic space it lies further out than m, as nearly all draws do.

    The KL divergence is that of all latents of a sample, divided by the number of values of the sample, since the
    reconstruction loss is a mean over values too. With Bernoulli likelihood a ``kl_weight`` of 1 is the evidence lower
    bound, per value. With the mean squared error it is the bound for a decoder of variance 1/2, and in general the
    weight is twice the decoder's variance.

    It is in closed form where translations are additions in the tangent space, as on flat space; elsewhere it is one
    draw of log q - log p. On the sphere densities leave out what wraps around it more than half way: 2e-3 of the
    prior's mass at D = 1, 5e-5 at D = 2, next to nothing above.

    Args:
        width, dim, manifold, channel_first: see ``ContinuousBottleneck``.
        kl_weight: weight (beta) of the divergence.
    """

    def __init__(
        self,
        *,
        width: int,
        dim: int,
        manifold: Manifold,
        kl_weight: float = 1.0,
        channel_first: bool = False,
    ) -> None:
        super().__init__(
            "gaussian",
            width=width,
            dim=dim,
            parts=2,
            manifold=manifold,
            channel_first=channel_first,
        )
        self.kl_weight, self.prior_scale = kl_weight, unit(manifold.tangent, dim)
        self.flat = type(manifold).translate is Manifold.translate

    def vectors(self, z: Tensor, values: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``ContinuousBottleneck.vectors``; the loss ``kl``."""
        mean, raw = z.chunk(2, -1)
        mean = self.manifold.tangent(mean)
        sigma = self.prior_scale * (F.softplus(raw) + NARROWEST)
        v = sigma * (torch.randn_like(sigma) if self.training else _fixed_noise(0, sigma))
        u = moved(self.manifold, mean, v)
        a_sample = self._divergence(mean, sigma, v, u).sum() / max(z.shape[0], 1)
        return (u if self.training else self._expected(mean, sigma)), {
            "kl": self.kl_weight * a_sample / values
        }

    def _expected(self, mean: Tensor, sigma: Tensor) -> Tensor:
        """The mean of the latents in tangent coordinates: by pairs of opposite draws, the same at each call."""
        if self.flat:
            return mean
        noise = (sigma * _fixed_noise(number, sigma) for number in range(PAIRS))
        both = [moved(self.manifold, mean, v) + moved(self.manifold, mean, -v) for v in noise]
        return sum(both) / (2 * PAIRS)

    def _divergence(self, mean: Tensor, sigma: Tensor, v: Tensor, u: Tensor) -> Tensor:
        """The KL divergence (...) from posterior to prior, or one draw of it: v seen from the mean is u from 0."""
        if self.flat:
            return normal_kl(mean / self.prior_scale, sigma / self.prior_scale)
        prior = torch.full_like(sigma, self.prior_scale)
        return wrapped_log_density(self.manifold, v, sigma) - wrapped_log_density(
            self.manifold, u, prior
        )


def _fixed_noise(number: int, like: Tensor) -> Tensor:
    """Standard normal for (B, ..., D): the same at each call and for each sample, whatever batch it is in."""
    return counter_rng.normal(number, *like.shape[1:], device=like.device).to(like.dtype)


def moved(manifold: Manifold, mean: Tensor, v: Tensor) -> Tensor:
    """Tangent vectors v (..., D) at the origin carried to the point of ``mean`` (..., D): where they then lead.

    Translation along a geodesic carries vectors as parallel transport does, so that a normal v becomes a wrapped
    normal around that point. In tangent coordinates at the origin, (..., D).
    """
    return manifold.logmap0(manifold.translate(manifold.expmap0(mean), manifold.expmap0(v)))


def wrapped_log_density(manifold: Manifold, v: Tensor, sigma: Tensor) -> Tensor:
    """Log density (...) of a wrapped normal at a point, which v (..., D) leads to from its centre.

    Against the manifold's volume, up to a factor that all densities on it share: log N(v; 0, diag sigma^2) less the
    logarithm of how ``expmap0`` enlarges volumes there.
    """
    normal = -0.5 * (v / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    return normal.sum(-1) - manifold.log_volume(v)


def normal_kl(mean: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mean, diag sigma^2) || N(0, I)), (...) of (..., D)."""
    return 0.5 * (mean.square() + sigma.square() - 1).sum(-1) - sigma.log().sum(-1)
