"""The rotation trick (Fifty et al. 2024, arXiv:2410.06424, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.explicit_gradient import with_gradient

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

    ``rescale=False`` leaves lam out: d out / d z = R, an isometry. Latents far shorter than their
    codes then get no larger gradient than others, and longer ones no smaller.

    Cost: O(N D), two reflections.
    """

    def __init__(self, *, radial: bool = True, rescale: bool = True, manifold: Manifold) -> None:
        super().__init__(manifold=manifold)
        self.radial, self.rescale = radial, rescale

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. Computed in float32 at least."""
        return _rotated(z, z_q.detach(), self.radial, self.rescale)


def _value(z: Tensor, z_q: Tensor, radial: bool, rescale: bool) -> tuple[Tensor]:
    return (z_q.clone(),)


def _pull(
    gradient: Tensor, inputs: Sequence[Any], kept: Sequence[Tensor], needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    start, end, radial, rescale = inputs
    wide = torch.promote_types(start.dtype, torch.float32)
    constants = start.detach().to(wide), end.to(wide)
    pulled = _rotated_back(gradient.to(wide), *constants, radial=radial, rescale=rescale)
    return pulled.to(start.dtype), None, None, None


#: z_q (..., D) to the bit, with the rotated gradient for z; nothing is computed before that.
_rotated = with_gradient(_value, _pull)


def _rotated_back(g: Tensor, start: Tensor, end: Tensor, *, radial: bool, rescale: bool) -> Tensor:
    """lam R^T g (..., D), for the rotation of ``start`` to ``end``; g where none is defined.

    Without ``rescale``, lam is 1; without ``radial``, the component along ``start`` is dropped at
    last.
    """
    tiny = torch.finfo(g.dtype).tiny
    length, target = _norm(start), _norm(end)
    positive = length.clamp(min=tiny)
    u, v = start / positive, end / target.clamp(min=tiny)
    bisector = u + v
    width = _norm(bisector)
    turned = _reflected(_reflected(g, v), bisector / width.clamp(min=tiny))
    defined = (length > _TINY * target) & (target > tiny) & (width > _TINY)
    turned = torch.where(defined, target / positive * turned if rescale else turned, g)
    return turned if radial else turned - _dot(u, turned) * u


def _reflected(x: Tensor, direction: Tensor) -> Tensor:
    """x (..., D) with the component along a unit vector (..., D) turned round."""
    return torch.addcmul(x, _dot(x, direction), direction, value=-2)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)
