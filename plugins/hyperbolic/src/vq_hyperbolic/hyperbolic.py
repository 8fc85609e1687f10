"""What the two models of hyperbolic space share: tangent vectors, limits, distances, codes."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vq_hyperbolic.hyperbolic_config import FLOAT32_REACH, FLOAT64_REACH, shown_limit
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.curvature import Curvature
from vqcore.numerics.radial import clip_norm, radial_map
from vqcore.numerics.stable import safe_norm

#: Largest sqrt(c) |u| by type.
REACH = {torch.float32: FLOAT32_REACH, torch.float64: FLOAT64_REACH}
#: Largest sqrt(c) |u| at which the search is reliable in float32.
FLOAT32_SEARCH = 2.5

#: tanh(a) x/|x|, a = rho |x| up to a limit: from a tangent vector into the ball of radius 1/rho.
into_ball = radial_map(
    factor=lambda a, limit: a.clamp(max=limit).tanh() / a,
    steepness=lambda a, f, limit: torch.where(a < limit, 1 - (a * f).square(), 0),
)


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
        self.double_search = math.sqrt(self.curve.largest) * max_radius > FLOAT32_SEARCH
        if max_radius > self._farthest(torch.float64):
            raise self._beyond(torch.float64, "lower it or the curvature")

    @property
    def curvature(self) -> Tensor | float:
        """c > 0."""
        return self.curve()

    @property
    def sqrt_c(self) -> Tensor | float:
        """sqrt(c)."""
        return self.curve.root()

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
        least, rho = 1 / self.max_radius, self.sqrt_c / self.reach(z)
        rho = rho.clamp(min=least) if isinstance(rho, Tensor) else max(rho, least)
        return clip_norm(z, rho, self.gain / z.shape[-1] ** 0.5)

    def disk(self, u: Tensor) -> Tensor:
        """The Poincare disk of radius 1: tanh(a) u/|u|, a = sqrt(c) |u|."""
        return self.sqrt_c * into_ball(u, self.sqrt_c, self.reach(u))

    @staticmethod
    @abstractmethod
    def quarter(x: Tensor, y: Tensor, rho: Tensor | float, apart: bool) -> Tensor:
        """c/4 times the squared distance, see ``hyperbolic_distance``."""

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """(4/c) asinh^2(sqrt t), t = sinh^2(sqrt(c) d/2): see ``hyperbolic_distance``."""
        return self._squared_dist(x, y, False)

    def squared_dist_apart(self, x: Tensor, y: Tensor) -> Tensor:
        """See ``Manifold.squared_dist_apart``."""
        return self._squared_dist(x, y, True)

    def _squared_dist(self, x: Tensor, y: Tensor, apart: bool) -> Tensor:
        rho = self.sqrt_c
        return (rho / 2) ** -2 * self.quarter(x, y, rho, apart)

    def pairwise_order(self, x: Tensor) -> Tensor:
        """x_0 y_0 - x_s.y_s - 1/c = (cosh(sqrt(c) d) - 1)/c of Lorentz coordinates, in float64."""
        lifted = self.lift(x)
        time, side = lifted[:, :1], lifted[:, 1:]
        inner = torch.addmm(time * time.mT, side, side.mT, alpha=-1)
        return (inner - 1 / self.curvature).clamp(min=0)

    def lift(self, x: Tensor) -> Tensor:
        """Lorentz coordinates (..., D+1) of points (..., A), in float64."""
        return self.to_ambient(x)

    def log_volume(self, u: Tensor) -> Tensor:
        """(D - 1) log(sinh(2a)/(2a)), a = sqrt(c) |u| (Nagano et al. 2019, arXiv:1902.02992)."""
        return (u.shape[-1] - 1) * log_sinhc(2 * self.sqrt_c * safe_norm(u)).squeeze(-1)

    def velocity(self, m: Tensor) -> Tensor:
        """Klein coordinates m_s/m_0 (..., D) of a sum m (..., D+1) of Lorentz points; 0 if empty.

        Their norm is kept below 1 by the margin that a point within ``reach`` needs.
        """
        mass, side = m[..., :1], m[..., 1:]
        return clip_norm(side / torch.where(mass > 0, mass, 1), 1 / math.tanh(2 * self.reach(m)))

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
            inside = clip_norm(parameter, self.sqrt_c / self.reach(parameter))
            return inside, self.expmap0(parameter)  # which does not go further out
        if self.training and getattr(parameter, "manifold", None) is None:
            expected = "codes in a geoopt.ManifoldParameter, got a plain one"
            fix = "load_state_dict without assign=True, no FSDP2, or set codes to tangent"
            raise SettingError("codes", "riemannian", expected, fix)
        # The gradient skips the projection, which has no radial gradient for a code at the edge.
        points = parameter + (self.project(parameter) - parameter).detach()
        return self.logmap0(points), points


def log_sinhc(t: Tensor) -> Tensor:
    """log(sinh t/t) for t >= 0, with value and gradient finite at 0 and far out."""
    near = t < 0.1
    far = torch.where(near, torch.ones_like(t), t)
    square = torch.where(near, t, torch.zeros_like(t)).square()  # its powers overflow far out
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square / 37800)))
    return torch.where(near, series, far + torch.log1p(-torch.exp(-2 * far)) - (2 * far).log())
