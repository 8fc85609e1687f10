"""The sphere: nearest code by cosine, distances by angle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.curvature import Curvature
from vqcore.numerics.pair_distance import SMALLEST, Pull, squared_distance
from vqcore.numerics.radial import TINY, clip_norm, lifted_map
from vqcore.numerics.stable import safe_norm, widest

onto_sphere = lifted_map(lambda a, limit: (a.cos(), a.sin() / a), turn=-1.0)


def _measure(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """The square of half the angle, atan2(|x - y|, |x + y|): exact at every angle (Kahan)."""
    between, total = x - y, x + y
    chord, other = safe_norm(between), safe_norm(total)
    half = torch.atan2(chord, other)
    return half.square(), between, total, chord, other, half


def _pull(kept: Sequence[Tensor]) -> tuple[Pull, Pull]:
    between, total, chord, other, half = kept
    steep = 2 / (chord.square() + other.square())
    across = steep * other * (half + SMALLEST) / torch.add(chord, other, alpha=SMALLEST)
    along = steep * -half * chord / (other + SMALLEST)
    return (
        lambda weight: torch.addcmul(weight * along * total, weight * across, between),
        lambda weight: torch.addcmul(weight * along * total, weight * -across, between),
    )


_half_angle_squared = squared_distance(_measure, _pull)


class Sphere(Manifold):
    """S^D of curvature k in R^(D+1), origin at the pole (1, 0, ..., 0)/sqrt(k).

    A point is (cos a, sin a u/|u|)/sqrt(k) for the tangent vector u of angle a = sqrt(k) |u|. The
    nearest code is the one of largest cosine. The log map is unique for ``max_angle`` below pi.
    Options: see ``SphereConfig``.

    Cost: O(N D) for the maps; the search is one (N, D+1) x (D+1, K) product, O(N + tile) memory.
    """

    keys_of_tables = True

    def __init__(
        self,
        *,
        curvature: float = 1.0,
        gain: float = 1.0,
        max_angle: float = 1.5,
        learn_curvature: bool = False,
        curvature_lr: float = 0.1,
        curvature_span: float = 10.0,
    ) -> None:
        super().__init__()
        self.curve = Curvature(
            curvature, learned=learn_curvature, rate=curvature_lr, span=curvature_span
        )
        self.gain = gain
        self.max_angle = max_angle

    @property
    def sqrt_k(self) -> Tensor | float:
        """1/radius."""
        return self.curve.root()

    def point_dim(self, dim: int) -> int:
        """One coordinate more than the tangent space has."""
        return dim + 1

    def tangent(self, z: Tensor) -> Tensor:
        """Scaled by gain/sqrt(D), then clipped to ``max_angle``."""
        return clip_norm(z, self.sqrt_k / self.max_angle, self.gain / z.shape[-1] ** 0.5)

    def expmap0(self, u: Tensor) -> Tensor:
        """(cos a, sin a u/|u|)/sqrt(k), a = sqrt(k) |u|."""
        return onto_sphere(u, self.sqrt_k, math.inf)

    def logmap0(self, x: Tensor) -> Tensor:
        """The angle from the pole, along the horizontal part; atan2 is accurate at every angle."""
        height, side = x[..., :1], x[..., 1:]
        length = safe_norm(side).clamp(min=TINY)
        return torch.atan2(length, height) / (length * self.sqrt_k) * side

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """The squared angle between x and y, over k."""
        return (self.sqrt_k / 2) ** -2 * _half_angle_squared(x, y, 1.0, False)

    def squared_dist_apart(self, x: Tensor, y: Tensor) -> Tensor:
        """See ``Manifold.squared_dist_apart``."""
        return (self.sqrt_k / 2) ** -2 * _half_angle_squared(x, y, 1.0, True)

    def pairwise_order(self, x: Tensor) -> Tensor:
        """1/k - x.y = (1 - cos)/k."""
        return (1 / self.sqrt_k**2 - x @ x.mT).clamp(min=0)

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """y after the rotation that takes the pole to x: reflections at pole + x and at the pole.

        For the point opposite to the pole, which has no unique such rotation, it is a half turn.
        """
        k = self.sqrt_k**2
        pole = torch.zeros_like(x)
        pole[..., 0] = 1 / self.sqrt_k
        middle = x + pole
        length = middle.square().sum(-1, keepdim=True)
        safe = torch.where(length > 0, length, torch.ones_like(length))
        share = 2 * (y * middle).sum(-1, keepdim=True) / safe
        return y - share * middle + 2 * k * (y * pole).sum(-1, keepdim=True) * x

    def log_volume(self, u: Tensor) -> Tensor:
        """(D - 1) log |sin a/a|, a = sqrt(k) |u|."""
        shrunk = torch.sinc(self.sqrt_k * safe_norm(u) / math.pi).abs()
        return (u.shape[-1] - 1) * shrunk.clamp(min=torch.finfo(u.dtype).eps).log().squeeze(-1)

    def project(self, x: Tensor) -> Tensor:
        """x scaled to the sphere; 0 becomes the pole."""
        length = safe_norm(x)
        pole = torch.zeros_like(x)
        pole[..., 0] = 1
        unit = x / length.clamp(min=torch.finfo(x.dtype).tiny)
        return torch.where(length > 0, unit, pole) / self.sqrt_k

    @torch.no_grad()
    def check_points(self, x: Tensor) -> str | None:
        """|x| = 1/sqrt(k) within rounding."""
        error = (self.sqrt_k * x.norm(dim=-1) - 1).abs()
        worst = float(error.max()) if error.numel() else 0.0
        if worst <= 32 * torch.finfo(x.dtype).eps:
            return None
        return f"a norm deviates from the sphere's radius by {worst:.1e}"

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """x' = x - centre."""
        return x - centre

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """The shortest chord is the smallest angle: |x - c|^2 - |x'|^2 = x' . (-2c') + |c'|^2."""
        codes = codes - centre
        return -2 * codes, codes.square().sum(-1)

    def squared_dist_from(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """(4/k) asin^2(sqrt(k) |x - c|/2); in float64 where points may be opposite."""
        kind = widest(codes.device) if self.max_angle > math.pi / 2 else codes.dtype
        scores, k = self.scores_from(codes.to(kind)), self.sqrt_k**2

        def distances(x: Tensor) -> Tensor:
            query, chords = scores(x.to(kind))
            chords += query.square().sum(-1, keepdim=True)
            return chords.mul_(k / 4).clamp_(0, 1).sqrt_().asin_().square_().mul_(4 / k)

        return distances
