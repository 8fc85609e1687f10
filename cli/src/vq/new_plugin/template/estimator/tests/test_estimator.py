import torch
from vqcore import Manifold
from vqcore.testing import EstimatorConformance, PluginConformance

from my_plugin.estimator import MyPart


class TestEstimator(EstimatorConformance):
    def make(self, manifold: Manifold) -> MyPart:
        return MyPart(manifold=manifold)

    def test_gradient_is_damped(self) -> None:
        for manifold in self.manifolds():
            z = torch.ones(3, 2, requires_grad=True)
            MyPart(manifold=manifold, gain=0.25)(z, 2 * z).sum().backward()
            assert z.grad is not None
            assert (z.grad == 0.25).all()


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
