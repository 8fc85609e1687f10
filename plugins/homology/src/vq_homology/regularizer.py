"""The regularizer: how far a cloud's persistent homology is from what is asked of it (HC-VQ, arXiv:2211.14363)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vq_homology import backends, clouds, statistics
from vq_homology.clouds import Cloud
from vqcore.latent import LatentBatch
from vqcore.regularizer import Regularizer

#: Size of a cloud where ``max_points`` leaves it open; latents are searched on every step, codes are not.
DEFAULT_POINTS = {"latents": 256, "codebook": 1024}
#: Weight of the past in the running median of lives, per search.
MEDIAN_DECAY = 0.9
#: Codebooks whose pairs are kept; more than that in one step (or a step count that stands still) are searched anew.
MOST_CLOUDS = 256


class Homology(Regularizer):
    """h0_weight H0 + h1_weight H1 of a cloud of points, by geodesic distance.

    H0 = mean_k max(0, 1 - death_k / (h0_target spread))^2 keeps points apart: death_k are the lengths of the minimum
    spanning tree, spread is the RMS distance to the centroid. ``h0_form="mean"`` holds their mean against the target
    instead. H1 = (B/n - h1_target)^2 sets the number of loops per point: B counts them softly, with a width of half
    the running median of their lives. Scaling the cloud changes neither.

    The pairs are searched without autograd; then only the chosen edges' lengths are computed with it. Pairs of a
    codebook serve ``refresh`` steps and are kept for each codebook in the order in which a step shows them; they are
    dropped when its shape changes. They are part of the state dict, so a resumed run goes on exactly.

    What it does, measured (digits, README.md): H0 on latents raised perplexity on every quantizer tried and costs
    reconstruction; the weight sets the trade. H0 on the codebook, HC-VQ's choice, lowers perplexity a little, and by a
    sixth to a third where dead codes are not replaced: the optimizer drives unused codes away from the latents. H1 did
    nothing beyond chance. A codebook without gradient (EMA) is measured but not moved. The H1 gradient is steep, since
    lives are short against the spread: begin with a weight of 0.001.

    Cost: n^2 distances of a cloud of n points and, on each step for latents, on every ``refresh``-th for a codebook, a
    minimum spanning tree in O(n^2). H1 adds a Vietoris-Rips complex on the shortest ``edge_quantile`` of the edges,
    about three times as long as that at n = 512. Pairs are found on the processor, and the host waits for the device.

    Args:
        points: ``latents``, tokens of the batch before quantization, drawn at random; or ``codebook``. An implicit
            codebook is taken as the codes that the batch uses, searched on every step.
        h0_target, h0_form, h0_weight, h1_target, h1_weight: see above.
        refresh: steps between searches of a codebook.
        edge_quantile: share of the edges that H1 looks at, in clouds of more than 128 points.
        max_points: size of the cloud at most.
        backend: library for H1, imported when H1 is first searched.
        options: weight, every, start.
    """

    def __init__(
        self,
        *,
        points: str = "latents",
        h0_target: float = 1.0,
        h0_form: str = "each",
        h0_weight: float = 1.0,
        h1_target: float = 0.0,
        h1_weight: float = 0.0,
        refresh: int = 10,
        edge_quantile: float = 0.1,
        max_points: int | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.points, self.refresh, self.edge_quantile, self.backend = points, refresh, edge_quantile, backend
        self.h0_target, self.h0_form, self.h0_weight = h0_target, h0_form, h0_weight
        self.h1_target, self.h1_weight = h1_target, h1_weight
        self.max_points = DEFAULT_POINTS[points] if max_points is None else max_points
        self._clouds: dict[int, Cloud] = {}
        self._step: int | None = None
        self._calls = 0

    def forward(self, batch: LatentBatch) -> Tensor:
        """See ``Regularizer.forward``. 0 for fewer than two points; points that are not finite are left out."""
        return _outside_of_graphs(self._evaluate)(batch)

    def _evaluate(self, batch: LatentBatch) -> Tensor:
        with torch.autocast(batch.z.device.type, enabled=False):
            points = self._points_of(batch)
            cloud = self._cloud(points, batch, reuse=points is batch.codebook)
            members = clouds.in_full_precision(points).index_select(0, cloud.rows.to(points.device))
            term = self._term(members, batch, cloud)
        return term.to(torch.promote_types(points.dtype, torch.float32))

    def _points_of(self, batch: LatentBatch) -> Tensor:
        if self.points == "latents":
            return clouds.latents(batch, self.max_points)
        return batch.codebook if batch.codebook is not None else clouds.quantized_latents(batch, self.max_points)

    def _cloud(self, points: Tensor, batch: LatentBatch, *, reuse: bool) -> Cloud:
        """The pairs of this call's codebook: those kept if they serve, else newly searched."""
        self._calls = self._calls + 1 if batch.step == self._step else 0
        self._step = batch.step
        kept = self._clouds.get(self._calls)
        if reuse and kept is not None and kept.serves(points, batch.step, self.refresh):
            return kept
        backend = backends.get(self.backend) if self.h1_weight > 0 else None
        cloud = clouds.search(
            points,
            batch.manifold,
            step=batch.step,
            limit=self.max_points,
            backend=backend,
            edge_quantile=self.edge_quantile,
        )
        cloud = replace(cloud, median=_running(kept.median if kept else 0.0, cloud.median))
        if self._calls < MOST_CLOUDS:
            self._clouds[self._calls] = cloud
        return cloud

    def _term(self, points: Tensor, batch: LatentBatch, cloud: Cloud) -> Tensor:
        edges, filled = cloud.edges.to(points.device), cloud.filled.to(points.device)
        diagram = statistics.measure(points, batch.manifold, edges, filled)
        term = points[:0].sum()  # 0, with a gradient whatever is left out below
        if self.h0_weight > 0 and len(points) > 1:
            deaths = statistics.relative_deaths(diagram, statistics.spread(points, batch.manifold))
            deaths = deaths.mean() if self.h0_form == "mean" else deaths
            term = term + self.h0_weight * (1 - deaths / self.h0_target).clamp(min=0).square().mean()
        if self.h1_weight > 0 and len(points) > 1:
            loops = statistics.soft_count(diagram.lives, 0.5 * cloud.median) / len(points)
            term = term + self.h1_weight * (loops - self.h1_target).square()
        return term

    def get_extra_state(self) -> Tensor:
        """The pairs in use and the running medians, as a vector that safetensors can hold."""
        return clouds.pack(self._clouds)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what ``get_extra_state`` gave."""
        self._clouds, self._step = clouds.unpack(state), None


def _running(past: float, new: float) -> float:
    if past == 0 or new == 0:  # no loops yet, or none this time
        return past or new
    return MEDIAN_DECAY * past + (1 - MEDIAN_DECAY) * new


def _outside_of_graphs(function: Callable[[LatentBatch], Tensor]) -> Callable[[LatentBatch], Tensor]:
    """The function, run as it is also under torch.compile, which would unroll the search. A no-op elsewhere."""
    return torch.compiler.disable(function) if torch.compiler.is_compiling() else function
