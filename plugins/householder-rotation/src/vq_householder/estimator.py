"""The rotation trick (Fifty et al. 2024, arXiv:2410.06424, section 4) by two Householder reflections."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold

#: Below this a bisector of two unit vectors is rounding noise, and a latent so short beside its code has a gradient
#: blown up a million times: both fall back.
_TINY = 1e-6


class Rotation(GradientEstimator):
    """out = lam R z with lam = |z_q|/|z| and R the rotation that takes z/|z| to z_q/|z_q|, both held constant.

    With u, v the two directions and r = (u + v)/|u + v|, R = (I - 2 v v^T)(I - 2 r r^T): the first reflection takes u
    to -v, the second -v to v, and no matrix is built. d out / d z = lam R, with R orthogonal and det R = 1; the
    gradient that arrives is lam R^T g. The value is z_q to the bit. Where no rotation is defined (z zero or a millionth
    of z_q, z_q zero, opposite directions) the token falls back to straight-through, d out / d z = I.

    Cost: O(N D), two reflections; no D x D matrix.

    Args:
        radial: with False the gradient along the latent is dropped, d out / d z = lam R (I - u u^T), and I - u u^T
            where no rotation is defined: the latent can only turn, and its length is left to the commitment loss. A
            latent of exactly zero has no direction to drop.
        manifold: the space the latents live in.
    """

    def __init__(self, *, radial: bool = True, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.radial = radial

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. Computed in float32 at least: bfloat16 loses 2.5 %."""
        wide = torch.promote_types(z.dtype, torch.float32)
        moved = _rotate(z.to(wide), z.detach().to(wide), z_q.detach().to(wide), self.radial)
        return z_q.detach() + (moved - moved.detach()).to(z_q.dtype)


def _rotate(z: Tensor, start: Tensor, end: Tensor, radial: bool) -> Tensor:
    """lam R z, linear in z (..., D), for the rotation that takes ``start`` to ``end``; z itself where there is none.

    Without ``radial`` the part of z along ``start`` is left out.
    """
    length, target = start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(z.dtype).tiny
    u, v = start / length.clamp(min=tiny), end / target.clamp(min=tiny)
    bisector = u + v
    width = bisector.norm(dim=-1, keepdim=True)
    part = z if radial else z - _along(z, u)
    reflected = part - 2 * _along(part, bisector / width.clamp(min=tiny))
    rotated = reflected - 2 * _along(reflected, v)
    defined = (length > _TINY * target) & (target > tiny) & (width > _TINY)
    return torch.where(defined, (target / length.clamp(min=tiny)) * rotated, part)


def _along(x: Tensor, direction: Tensor) -> Tensor:
    """The part of x (..., D) along a unit vector (..., D)."""
    return (x * direction).sum(-1, keepdim=True) * direction
