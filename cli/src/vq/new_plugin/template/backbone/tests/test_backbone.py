from typing import Any

import torch
from vqcore.testing import BackboneConformance, PluginConformance

from my_plugin.backbone import MyPart


class TestBackbone(BackboneConformance):
    def make(self, **sizes: Any) -> MyPart:
        return MyPart(**sizes)

    def test_a_rotation_loses_nothing(self) -> None:
        backbone = self.make(shape=(8,), dim=2)
        torch.nn.init.orthogonal_(backbone.weight)
        x = torch.randn(3, 8)
        assert torch.allclose(backbone.decode(backbone.encode(x)), x, atol=1e-5)


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
