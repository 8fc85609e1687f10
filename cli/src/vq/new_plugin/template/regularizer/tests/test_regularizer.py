from typing import Any

import torch
from vqcore import VectorQuantizer
from vqcore.testing import PluginConformance, RegularizerConformance

from my_plugin.regularizer import MyPart


class TestRegularizer(RegularizerConformance):
    def make(self, **options: Any) -> MyPart:
        return MyPart(**options)

    def test_latents_that_are_spread_cost_nothing(self) -> None:
        layer = VectorQuantizer(dim=4, codebook_size=8, regularizers=[self.make()])
        z = torch.eye(4).repeat(8, 1)  # with a standard deviation of 0.43
        narrow, wide = ([*layer(by * z).losses.values()][-1] for by in (1, 4))
        assert narrow > 0
        assert wide == 0


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
