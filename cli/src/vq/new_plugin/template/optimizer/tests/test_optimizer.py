from collections.abc import Iterable
from typing import Any

import torch
from vqcore.testing import OptimizerConformance, PluginConformance

from my_plugin.optimizer import MyPart


class TestOptimizer(OptimizerConformance):
    def make(self, params: Iterable[Any]) -> MyPart:
        return MyPart(params)

    def test_a_step_has_the_length_of_the_rate(self) -> None:
        weight = torch.nn.Parameter(torch.tensor([1.0, -5.0]))
        weight.grad = torch.tensor([0.1, -3.0])
        MyPart([weight], lr=0.5).step()
        assert weight.tolist() == [0.5, -4.5]


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
