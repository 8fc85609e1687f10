"""What must hold for every manifold on a device."""

from __future__ import annotations

from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import ManifoldBench
from vqcore.testing.rules import rule
from vqcore.testing.samples import normal
from vqcore.testing.waits import device, no_waits


class WaitRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_nothing_waits(self) -> None:
        """Maps, distances and the search do not wait for the device, nor do their gradients."""
        manifold = self.make().to(device())
        z = normal(64, self.dim).to(device()).requires_grad_()
        _use(manifold, z)  # a kernel that is compiled for the first time is waited for
        with no_waits("the manifold"):
            _use(manifold, z)


def _use(manifold: Manifold, z: Tensor) -> None:
    u = manifold.tangent(z)
    x = manifold.expmap0(u)
    y = manifold.project(x.flip(0))
    manifold.nearest(x.detach(), y.detach()[:8])
    centroid = manifold.from_ambient(manifold.to_ambient(x).mean(0, keepdim=True))
    moved = manifold.translate(manifold.negate(x), y)
    lengths = manifold.dist(x, y) + manifold.squared_dist(x, centroid) + manifold.log_volume(u)
    (lengths.sum() + manifold.logmap0(moved).sum()).backward()
