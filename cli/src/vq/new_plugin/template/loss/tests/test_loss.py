from typing import Any

from vqcore.testing import LossConformance, PluginConformance

from my_plugin.loss import MyPart


class TestLoss(LossConformance):
    def make(self, **options: Any) -> MyPart:
        return MyPart(samples=self.samples, **options)


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
