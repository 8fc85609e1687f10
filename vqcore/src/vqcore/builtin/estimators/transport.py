"""The isometric estimator: the gradient is carried from the code to the latent by a motion of the space."""

from __future__ import annotations

from torch import Tensor

from vqcore.builtin.estimators.straight_through import straight_through
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.quantizer import Quantized, Quantizer


class Transport(GradientEstimator):
    """out = log0(T(exp0 z)), T the transvection along the geodesic from e = exp0(z) to q = exp0(z_q), held constant.

    T(x) = e (+) (w (+) ((-e) (+) x)) with w = (-e) (+) q is the isometry that takes e to q and turns nothing about the
    geodesic between them: at e it is parallel transport. So d out / d z = D log0(q) DT(e) D exp0(z) keeps lengths and
    angles of the manifold's metric: where straight-through copies tangent coordinates at the origin, whatever the
    distance from it, here a step of the code asks for the same step of the latent, as the space measures it. The value
    is z_q to the bit. On flat space, and on a manifold whose ``translate`` is that of the tangent space, this is
    straight-through.

    Under a quantizer that splits the latent into groups each is moved in its own factor of the product.

    Cost: O(N D), three translations in float64 with their backward.
    """

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. In float64: w may lie twice as far out as any latent."""
        z_far, start, end = z.double(), z.detach().double(), z_q.detach().double()
        # e and q come from constant tangent vectors, not as constant points: with a learned curvature they move along
        # with exp0(z), and its gradient cancels, as it should where the value is z_q whatever the curvature.
        e, q = self.manifold.expmap0(start), self.manifold.expmap0(end)
        carried = self.manifold.logmap0(self._transvect(e, q, self.manifold.expmap0(z_far)))
        return z_q.detach() + (carried - carried.detach()).to(z_q.dtype)

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """See ``GradientEstimator.estimate``: factor by factor; implicit codes may lie off the manifold: none."""
        if any(use.codebook is None for use in result.assignments):
            return straight_through(z, result.z_q)
        apart = [v.unflatten(-1, (quantizer.factors, -1)) for v in (z, result.z_q)]
        return self(*apart).flatten(-2)

    def _transvect(self, e: Tensor, q: Tensor, x: Tensor) -> Tensor:
        """T of the points x (..., A) for the points e and q (..., A)."""
        translate, back = self.manifold.translate, self.manifold.negate(e)
        return translate(e, translate(translate(back, q), translate(back, x)))
