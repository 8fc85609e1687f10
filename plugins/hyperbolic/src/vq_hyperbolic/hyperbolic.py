"""What the two models of hyperbolic space share: tangent convention, limits of the number type, distances, codes."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.curvature import Curvature, root
from vqcore.numerics.stable import clip_norm, safe_norm, safe_sqrt

#: Largest sqrt(c) |u| that ``expmap0`` keeps apart, half the hyperbolic radius. There 1 - c|y|^2 has lost 2 of
#: float32's 7 digits in the ball, 5 of float64's 16; the Lorentz model keeps to the same so that both agree.
REACH = {torch.float32: 3.1, torch.float64: 6.1}
#: Largest sqrt(c) |u| at which the search is reliable in float32.
FLOAT32_SEARCH = 2.5
#: Below this the series of asinh^2 is exact to float64.
SERIES = 1e-3


class Hyperbolic(Manifold):
    """Hyperbolic space of curvature -c, up to the coordinates that a point has.

    A latent u is read as the tangent vector at the origin of the Poincare ball, whose metric there is 4 |du|^2: the
    point it leads to lies at distance 2|u|, and both models agree on that.

    Args:
        curvature: c > 0.
        gain: latents are scaled by gain/sqrt(D).
        max_radius: clip of the latents' tangent norm |u|; their distance from the origin is up to twice that.
        codes: ``tangent`` holds learned codes as tangent vectors, ``riemannian`` as points on a geoopt manifold.
        learn_curvature, curvature_lr, curvature_span: see ``vqcore.numerics.curvature.Curvature``.

    Raises:
        SettingError: if ``max_radius`` is beyond the ``REACH`` of float64, or a learned curvature meets points that
            know only the one they were made with.
    """

    def __init__(
        self,
        *,
        curvature: float = 1.0,
        gain: float = 1.0,
        max_radius: float = 2.0,
        codes: str = "tangent",
        learn_curvature: bool = False,
        curvature_lr: float = 0.1,
        curvature_span: float = 10.0,
    ) -> None:
        super().__init__()
        self.curve = Curvature(
            curvature, learned=learn_curvature, rate=curvature_lr, span=curvature_span
        )
        self.gain, self.max_radius = gain, max_radius
        self.riemannian = codes == "riemannian"
        if self.riemannian and learn_curvature:
            raise SettingError(
                "learn_curvature", True, "false with codes = 'riemannian'", "set codes to tangent"
            )
        #: Search in float64: the error of the float32 search grows as cosh^2 of the radius.
        self.double_search = root(self.curve.largest) * max_radius > FLOAT32_SEARCH
        largest = REACH[torch.float64] / math.sqrt(curvature)
        if max_radius > largest:
            fix = "lower it or the curvature"
            raise SettingError(
                "max_radius", max_radius, f"at most {largest:.4g} at curvature {curvature:g}", fix
            )

    @property
    def curvature(self) -> Tensor | float:
        """c."""
        return self.curve()

    @property
    def sqrt_c(self) -> Tensor | float:
        """sqrt(c)."""
        return root(self.curve())

    def reach(self, x: Tensor) -> float:
        """Largest sqrt(c) |u| that the number type of x can hold."""
        return REACH.get(x.dtype, REACH[torch.float32])

    def tangent(self, z: Tensor) -> Tensor:
        """Scaled by gain/sqrt(D), then clipped to ``max_radius`` (arXiv:2107.11472), or to what the type can hold."""
        limit = self.reach(z) / self.sqrt_c
        radius = (
            limit.clamp(max=self.max_radius)
            if isinstance(limit, Tensor)
            else min(self.max_radius, limit)
        )
        return clip_norm(z * (self.gain / z.shape[-1] ** 0.5), radius)

    def disk(self, u: Tensor) -> Tensor:
        """The Poincare disk of radius 1: tanh(a) u/|u|, a = sqrt(c) |u|."""
        a = self.sqrt_c * safe_norm(u)
        return ratio(a.tanh(), a, 1.0) * (self.sqrt_c * u)

    # -- distances -----------------------------------------------------------

    @abstractmethod
    def half_sinh_squared(self, x: Tensor, y: Tensor) -> Tensor:
        """t = sinh^2(sqrt(c) d / 2) (...) for points (..., A) at distance d, smooth where x = y."""

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """(4/c) asinh^2(sqrt t)."""
        return (4 / self.curvature) * asinh_sqrt_squared(self.half_sinh_squared(x, y))

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """(2/sqrt(c)) asinh(sqrt t)."""
        return (2 / self.sqrt_c) * torch.asinh(safe_sqrt(self.half_sinh_squared(x, y)))

    def log_volume(self, u: Tensor) -> Tensor:
        """(D - 1) log(sinh(2a)/(2a)), a = sqrt(c) |u| (Nagano et al. 2019, arXiv:1902.02992)."""
        return (u.shape[-1] - 1) * log_sinhc(2 * self.sqrt_c * safe_norm(u)).squeeze(-1)

    # -- averages ------------------------------------------------------------

    def velocity(self, m: Tensor) -> Tensor:
        """Klein coordinates m_s/m_0 (..., D) of a sum m (..., D+1) of Lorentz points; 0 where there is no mass.

        The length is kept below 1 by as much as a point within ``reach`` needs.
        """
        mass, side = m[..., :1], m[..., 1:]
        massive = mass > 0
        v = torch.where(
            massive,
            side / torch.where(massive, mass, torch.ones_like(mass)),
            torch.zeros_like(side),
        )
        return clip_norm(v, math.tanh(2 * self.reach(m)))

    # -- codes as parameters -------------------------------------------------

    @abstractmethod
    def point_parameter(self, points: Tensor) -> nn.Parameter:
        """Valid points (K, A) as a parameter of geoopt that knows the manifold."""

    def coordinates(self, points: Tensor) -> Tensor:
        """See ``Manifold.coordinates``; for ``codes=riemannian`` the points themselves."""
        return self.project(points) if self.riemannian else super().coordinates(points)

    def parameter(self, points: Tensor) -> nn.Parameter:
        """See ``Manifold.parameter``; for ``codes=riemannian`` one that knows the manifold."""
        return (
            self.point_parameter(self.coordinates(points))
            if self.riemannian
            else super().parameter(points)
        )

    def codes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Manifold.codes``.

        Raises:
            SettingError: in training with ``codes=riemannian``, if the parameter has lost its manifold: every optimizer
                would move it as a flat vector.
        """
        if not self.riemannian:
            inside = clip_norm(parameter, self.reach(parameter) / self.sqrt_c)
            return inside, self.expmap0(inside)
        if self.training and getattr(parameter, "manifold", None) is None:
            expected = "codes in a geoopt.ManifoldParameter, got a plain one"
            fix = (
                "load_state_dict without assign=True, shard without FSDP2, or set codes to tangent"
            )
            raise SettingError("codes", "riemannian", expected, fix)
        # The gradient skips the projection: it would hold back the radial part for a code that sits on the edge.
        points = parameter + (self.project(parameter) - parameter).detach()
        return self.logmap0(points), points


def asinh_sqrt_squared(t: Tensor) -> Tensor:
    """asinh^2(sqrt t) for t >= 0, value and gradient finite at 0.

    Near 0 by the series sum_n (-1)^(n+1) 2^(2n-1) t^n / (n^2 binom(2n, n)), from that of arcsin^2 at an imaginary
    argument.
    """
    near = t < SERIES
    far = torch.where(near, torch.ones_like(t), t)
    series = t * (1 + t * (-1 / 3 + t * (8 / 45 + t * (-4 / 35 + t * (128 / 1575)))))
    return torch.where(near, series, torch.asinh(far.sqrt()).square())


def log_sinhc(t: Tensor) -> Tensor:
    """log(sinh t / t) for t >= 0, value and gradient finite at 0 and far out; near 0 by its series."""
    near = t < 0.1
    far = torch.where(near, torch.ones_like(t), t)
    series = t.square() * (
        1 / 6 - t.square() * (1 / 180 - t.square() * (1 / 2835 - t.square() / 37800))
    )
    return torch.where(near, series, far + torch.log1p(-torch.exp(-2 * far)) - (2 * far).log())


def ratio(numerator: Tensor, denominator: Tensor, at_zero: float) -> Tensor:
    """numerator/denominator for a denominator >= 0, and the limit ``at_zero`` with gradient 0 where it is 0."""
    positive = denominator > 0
    quotient = numerator / torch.where(positive, denominator, torch.ones_like(denominator))
    return torch.where(positive, quotient, torch.full_like(quotient, at_zero))
