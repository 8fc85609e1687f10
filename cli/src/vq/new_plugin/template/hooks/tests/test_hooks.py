import json
from typing import Any, ClassVar

from vq.testing import HooksConformance
from vqcore.testing import PluginConformance


def test_every_second_step_is_logged(train_tiny: Any) -> None:
    run = train_tiny({"plugins.my-part.every": 2}, steps=4)
    log = run.folder.path / "plugins" / "my-part" / "losses.jsonl"
    lines = log.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


class TestHooks(HooksConformance):
    plugin = "my_plugin.plugin"
    settings: ClassVar[dict[str, Any]] = {"plugins.my-part.every": 2}


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
