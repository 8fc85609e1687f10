from typing import Any

from vq.testing import run_command
from vqcore.testing import PluginConformance


def test_the_lowest_is_found(train_tiny: Any) -> None:
    run = train_tiny(steps=4)
    best = min(run.history, key=lambda line: float(line["loss"]))
    done = run_command("my-part", run.folder.path)
    assert done.stdout == f"step {best['step']}: loss = {best['loss']:g}\n"


def test_an_unknown_metric_is_refused(train_tiny: Any) -> None:
    run = train_tiny(steps=1)
    done = run_command("my-part", run.folder.path, "--metric", "luck")
    assert done.exit_code == 2


class TestPlugin(PluginConformance):
    plugin = "my_plugin.plugin"
