"""What the two models of hyperbolic space share: tangent vectors, limits, distances, codes."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vq_hyperbolic.hyperbolic_config import FLOAT32_REACH, shown_limit
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.curvature import Curvature, root
from vqcore.numerics.stable import clip_norm, safe_norm, safe_sqrt

#: Largest sqrt(c) |u| by type; float64 has lost 5 of its 16 digits there. See ``FLOAT32_REACH``.
REACH = {torch.float32: FLOAT32_REACH, torch.float64: 6.1}
#: Largest sqrt(c) |u| at which the search is reliable in float32.
FLOAT32_SEARCH = 2.5
#: Below this, the series of asinh^2 is exact to float64.
SERIES = 1e-3


class Hyperbolic(Manifold):
    """Hyperbolic space of curvature -c, up to the choice of coordinates.

    A latent u is a tangent vector at the origin of the Poincare ball, whose metric there is
    4 |du|^2: in both models it leads to the point at distance 2|u|.
    Options: see ``HyperbolicConfig``.

    Raises:
        SettingError: if ``max_radius`` exceeds the ``REACH`` of float64, or, in training, that of
            the latents or codes; or if a learned curvature is combined with ``codes="riemannian"``,
            whose points have a fixed one.
    """

    geoopt_name: ClassVar[str]  #: Of the class of geoopt for the same model.

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
        span = curvature_span
        self.curve = Curvature(curvature, learned=learn_curvature, rate=curvature_lr, span=span)
        self.gain = gain
        self.max_radius = max_radius
        self.riemannian = codes == "riemannian"
        if self.riemannian and learn_curvature:
            expected = "false with codes = 'riemannian'"
            raise SettingError("learn_curvature", True, expected, "set codes to tangent")
        #: Search in float64: the error of the float32 search grows as cosh^2 of the radius.
        self.double_search = root(self.curve.largest) * max_radius > FLOAT32_SEARCH
        if max_radius > self._farthest(torch.float64):
            raise self._beyond(torch.float64, "lower it or the curvature")

    @property
    def curvature(self) -> Tensor | float:
        """c > 0."""
        return self.curve()

    @property
    def sqrt_c(self) -> Tensor | float:
        """sqrt(c)."""
        return root(self.curve())

    def reach(self, x: Tensor) -> float:
        """Largest sqrt(c) |u| in the dtype of x."""
        return REACH.get(x.dtype, FLOAT32_REACH)

    def _farthest(self, dtype: torch.dtype) -> float:
        """Largest |u| in a type, before a learned curvature moves."""
        return REACH.get(dtype, FLOAT32_REACH) / math.sqrt(self.curve.value)

    def _beyond(self, dtype: torch.dtype, fix: str) -> SettingError:
        limit = f"at most {shown_limit(self._farthest(dtype))} in {str(dtype)[6:]}"
        expected = f"{limit} at curvature {self.curve.value:g}"
        return SettingError("max_radius", self.max_radius, expected, fix)

    def _require_reach(self, *tensors: Tensor) -> None:
        """Refuse to train with a ``max_radius`` that latents or codes of this type never reach.

        A model that is only used may have been trained so; it gets a warning.
        """
        for each in tensors:
            if self.max_radius > self._farthest(each.dtype):
                fix = "lower it, or pass float64 latents to a float64 layer"
                error = self._beyond(each.dtype, fix)
                if self.training:
                    raise error
                warnings.warn(f"{error}; until then it acts as that limit", stacklevel=3)

    def tangent(self, z: Tensor) -> Tensor:
        """Scale by gain/sqrt(D), then clip to ``max_radius`` (arXiv:2107.11472) or the reach."""
        self._require_reach(z)
        limit = self.reach(z) / self.sqrt_c
        if isinstance(limit, Tensor):
            radius: Tensor | float = limit.clamp(max=self.max_radius)
        else:
            radius = min(self.max_radius, limit)
        return clip_norm(z * (self.gain / z.shape[-1] ** 0.5), radius)

    def disk(self, u: Tensor) -> Tensor:
        """The Poincare disk of radius 1: tanh(a) u/|u|, a = sqrt(c) |u|."""
        a = self.sqrt_c * safe_norm(u)
        return ratio(a.tanh(), a, 1.0) * (self.sqrt_c * u)

    @torch.no_grad()
    def nearest(self, x: Tensor, codes: Tensor) -> Tensor:
        """See ``Manifold.nearest``."""
        self._require_reach(x, codes)
        return super().nearest(x, codes)

    @abstractmethod
    def half_sinh_squared(self, x: Tensor, y: Tensor) -> Tensor:
        """t = sinh^2(sqrt(c) d/2) (...) for points (..., A) at distance d, smooth where x = y."""

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """(4/c) asinh^2(sqrt t)."""
        return (4 / self.curvature) * asinh_sqrt_squared(self.half_sinh_squared(x, y))

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """(2/sqrt(c)) asinh(sqrt t)."""
        return (2 / self.sqrt_c) * torch.asinh(safe_sqrt(self.half_sinh_squared(x, y)))

    def log_volume(self, u: Tensor) -> Tensor:
        """(D - 1) log(sinh(2a)/(2a)), a = sqrt(c) |u| (Nagano et al. 2019, arXiv:1902.02992)."""
        return (u.shape[-1] - 1) * log_sinhc(2 * self.sqrt_c * safe_norm(u)).squeeze(-1)

    def velocity(self, m: Tensor) -> Tensor:
        """Klein coordinates m_s/m_0 (..., D) of a sum m (..., D+1) of Lorentz points; 0 if empty.

        Their norm is kept below 1 by the margin that a point within ``reach`` needs.
        """
        mass, side = m[..., :1], m[..., 1:]
        massive = mass > 0
        v = side / torch.where(massive, mass, torch.ones_like(mass))
        v = torch.where(massive, v, torch.zeros_like(side))
        return clip_norm(v, math.tanh(2 * self.reach(m)))

    def coordinates(self, points: Tensor) -> Tensor:
        """See ``Manifold.coordinates``; for ``codes=riemannian`` the points themselves."""
        return self.project(points) if self.riemannian else super().coordinates(points)

    def parameter(self, points: Tensor) -> nn.Parameter:
        """See ``Manifold.parameter``; for ``codes=riemannian`` one that has the manifold."""
        if not self.riemannian:
            return super().parameter(points)
        from vq_hyperbolic.riemannian import point_parameter

        return point_parameter(self.coordinates(points), self.geoopt_name, self.curvature)

    def codes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Manifold.codes``.

        Raises:
            SettingError: in training with ``codes=riemannian``, if the parameter has lost its
                manifold: every optimizer would move it as a flat vector.
        """
        if not self.riemannian:
            inside = clip_norm(parameter, self.reach(parameter) / self.sqrt_c)
            return inside, self.expmap0(inside)
        if self.training and getattr(parameter, "manifold", None) is None:
            expected = "codes in a geoopt.ManifoldParameter, got a plain one"
            fix = "load_state_dict without assign=True, no FSDP2, or set codes to tangent"
            raise SettingError("codes", "riemannian", expected, fix)
        # The gradient skips the projection, which has no radial gradient for a code at the edge.
        points = parameter + (self.project(parameter) - parameter).detach()
        return self.logmap0(points), points


def asinh_sqrt_squared(t: Tensor) -> Tensor:
    """asinh^2(sqrt t) for t >= 0, with value and gradient finite at 0.

    Near 0 by the series sum_n (-1)^(n+1) 2^(2n-1) t^n/(n^2 binom(2n, n)), that of arcsin^2 at an
    imaginary argument.
    """
    near = t < SERIES
    far = torch.where(near, torch.ones_like(t), t)
    series = t * (1 + t * (-1 / 3 + t * (8 / 45 + t * (-4 / 35 + t * (128 / 1575)))))
    return torch.where(near, series, torch.asinh(far.sqrt()).square())


def log_sinhc(t: Tensor) -> Tensor:
    """log(sinh t/t) for t >= 0, with value and gradient finite at 0 and far out."""
    near = t < 0.1
    far = torch.where(near, torch.ones_like(t), t)
    square = torch.where(near, t, torch.zeros_like(t)).square()  # its powers overflow far out
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square / 37800)))
    return torch.where(near, series, far + torch.log1p(-torch.exp(-2 * far)) - (2 * far).log())


def ratio(numerator: Tensor, denominator: Tensor, at_zero: float) -> Tensor:
    """numerator/denominator for a denominator >= 0; ``at_zero`` with gradient 0 where it is 0."""
    positive = denominator > 0
    quotient = numerator / torch.where(positive, denominator, torch.ones_like(denominator))
    return torch.where(positive, quotient, torch.full_like(quotient, at_zero))
