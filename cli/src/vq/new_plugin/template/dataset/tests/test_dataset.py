from typing import Any

from vqcore.testing import DatasetConformance, PluginConformance

from my_plugin.dataset import MyPart


class TestDataset(DatasetConformance):
    def make(self, **options: Any) -> MyPart:
        return MyPart(samples=64, **options)

    def test_a_quarter_is_held_out(self) -> None:
        assert len(self.make().split("test")) == 16


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
