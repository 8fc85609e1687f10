from typing import Any

import torch
from vqcore.testing import PluginConformance, QuantizerConformance

from my_plugin.quantizer import MyPart


class TestQuantizer(QuantizerConformance):
    def make(self, **sizes: Any) -> MyPart:
        return MyPart(**sizes)

    def test_the_scale_moves_all_codes(self) -> None:
        table = self.make(dim=2, codebook_size=4, manifold=self.manifolds()[0])
        table.log_scale.data.fill_(0.01)
        assert torch.allclose(table.stored(), 1.1 * table.weight, rtol=0.01)


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
