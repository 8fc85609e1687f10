import torch
from vqcore.testing import ManifoldConformance, PluginConformance

from my_plugin.manifold import MyPart


class TestManifold(ManifoldConformance):
    def make(self) -> MyPart:
        return MyPart(stretch=3.0)

    def test_half_of_the_axes_is_stretched(self) -> None:
        assert self.make().dist(torch.zeros(2), torch.eye(2)).tolist() == [3.0, 1.0]


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
