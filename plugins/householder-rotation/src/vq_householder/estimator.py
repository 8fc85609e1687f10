"""The rotation trick (Fifty et al. 2024, arXiv:2410.06424, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold

#: Below this norm, the bisector of two unit vectors is rounding noise; below this share of its
#: code's norm, a latent would get an exploding gradient.
_TINY = 1e-6


class Rotation(GradientEstimator):
    """out = lam R z with lam = |z_q|/|z| and R the rotation from z/|z| to z_q/|z_q|, both constant.

    With u and v the two directions and r = (u + v)/|u + v|, R = (I - 2 v v^T)(I - 2 r r^T): two
    Householder reflections, and no matrix is built. d out / d z = lam R, with R orthogonal and
    det R = 1, so the gradient becomes lam R^T g. The value is z_q to the bit. Where no rotation is
    defined (z = 0 or below 1e-6 of z_q, z_q = 0, opposite directions), the token gets the
    straight-through gradient, d out / d z = I.

    ``radial=False`` drops the gradient along the latent: d out / d z = lam R (I - u u^T), and
    I - u u^T where no rotation is defined. The latent can then only turn, and commitment alone
    changes its length. A latent of exactly 0 has no direction to drop.

    Cost: O(N D), two reflections.
    """

    def __init__(self, *, radial: bool = True, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.radial = radial

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. Computed in float32 at least."""
        wide = torch.promote_types(z.dtype, torch.float32)
        moved = _rotate(z.to(wide), z.detach().to(wide), z_q.detach().to(wide), self.radial)
        return z_q.detach() + (moved - moved.detach()).to(z_q.dtype)


def _rotate(z: Tensor, start: Tensor, end: Tensor, radial: bool) -> Tensor:
    """lam R z, linear in z (..., D), for the rotation of ``start`` to ``end``; z where undefined.

    Without ``radial``, the component of z along ``start`` is dropped first.
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
    """The component of x (..., D) along a unit vector (..., D)."""
    return (x * direction).sum(-1, keepdim=True) * direction
