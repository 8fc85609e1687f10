"""The isometric estimator: an isometry of the manifold takes the gradient from code to latent."""

from __future__ import annotations

from torch import Tensor

from vqcore.builtin.estimators.straight_through import straight_through
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.quantizer import Quantized, Quantizer


class Transport(GradientEstimator):
    """out = log0(T(exp0 z)), T the transvection from e = exp0(z) to q = exp0(z_q), held constant.

    T(x) = e (+) (w (+) ((-e) (+) x)) with w = (-e) (+) q is the isometry along the geodesic that
    takes e to q without a rotation about it; at e it is parallel transport. So
    d out / d z = D log0(q) DT(e) D exp0(z) preserves lengths and angles in the manifold's metric,
    where straight-through copies tangent coordinates at the origin whatever the distance from it.
    The value is z_q to the bit. On flat space, and on a manifold that inherits ``translate``, this
    is straight-through.

    Under a quantizer that splits the latent into groups, each moves in its own factor of the
    product.

    Cost: O(N D), three translations in float64 and their backward pass.
    """

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        """See ``GradientEstimator.forward``. In float64: w may lie twice as far out as a latent."""
        z_far = z.double()
        # e and q are maps of constant tangent vectors, not constant points: under a learned
        # curvature they move with exp0(z), and its gradient cancels.
        e = self.manifold.expmap0(z.detach().double())
        q = self.manifold.expmap0(z_q.detach().double())
        carried = self.manifold.logmap0(self._transvect(e, q, self.manifold.expmap0(z_far)))
        return z_q.detach() + (carried - carried.detach()).to(z_q.dtype)

    def estimate(self, z: Tensor, result: Quantized, quantizer: Quantizer) -> Tensor:
        """See ``GradientEstimator.estimate``: factor by factor.

        Straight-through for an implicit codebook, whose codes may lie off the manifold.
        """
        if any(each.codebook is None for each in result.assignments):
            return straight_through(z, result.z_q)
        apart = [v.unflatten(-1, (quantizer.factors, -1)) for v in (z, result.z_q)]
        return self(*apart).flatten(-2)

    def _transvect(self, e: Tensor, q: Tensor, x: Tensor) -> Tensor:
        """T of the points x (..., A) for the points e and q (..., A)."""
        translate = self.manifold.translate
        back = self.manifold.negate(e)
        return translate(e, translate(translate(back, q), translate(back, x)))
