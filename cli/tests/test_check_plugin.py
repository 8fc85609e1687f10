"""``vq check-plugin``: what it finds, however a plugin is named, and how it ends."""

import json
from itertools import islice

import pytest

from vq.cli.plugin_check import checked as checked_parts
from vq.cli.plugin_check import find_plugin
from vqcore.errors import UsageError

#: An optimizer and a data set that needs a folder; hooks that follow runs.
PLUGIN = '''
from pathlib import Path
from typing import Annotated
import torch
from pydantic import Field
from vqcore import ComponentConfig, ComponentSpec, DataSource, SettingError, TensorSplit, hookimpl
VQ_API = 1

class RampConfig(ComponentConfig):
    root: str | None = None
    """File of the pictures."""

class Ramp(DataSource):
    shape = (1, 4, 4)

    def __init__(self, root=None):
        self.root = root

    def split(self, name):
        if self.root is None or not Path(self.root).exists():
            raise SettingError("dataset.root", self.root, "a file")
        start = 0 if name == "train" else 100
        return TensorSplit((start + torch.arange(6.0)).view(6, 1, 1, 1).expand(-1, 1, 4, 4) / 200)

class DescentConfig(ComponentConfig):
    rate: Annotated[float, Field(ge=0, le=1)]
    """Learning rate."""

def descent(params, rate=0.01):
    return torch.optim.SGD(params, lr=RATE)

RATE = 0.01

@hookimpl
def vq_optimizers():
    return [ComponentSpec(name="descent", target=f"{__name__}:descent", summary="gradient descent")]

@hookimpl
def vq_datasets():
    return [ComponentSpec(name="ramp", target=f"{__name__}:Ramp", config=f"{__name__}:RampConfig",
                          summary="pictures of one brightness")]

@hookimpl
def vq_step_end(step):
    assert step < LIMIT

LIMIT = 99
'''

CONFIG = 'config=f"{__name__}:DescentConfig", '


@pytest.fixture
def checked(vq, plugin_file):
    """A function that checks the plugin, with a text replaced, and returns rows and the result."""

    def check(name, *arguments, text="", replacement="", code=0):
        path = plugin_file(name, PLUGIN.replace(text, replacement) if text else PLUGIN)
        result = vq("check-plugin", path, "--json", *arguments)
        assert result.code == code, result
        return {row["what"]: row for row in json.loads(result.out)}

    return check


def test_every_part_is_checked(checked):
    rows = checked("checked_whole", "--skip", "no-step-waits")
    assert list(rows) == ["plugin", "optimizer", "dataset", "hooks"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "plugin": "ok",
        "optimizer": "ok",
        "dataset": "not checked",
        "hooks": "ok",
    }
    assert rows["optimizer"]["rules"] == 9
    wanted = "dataset.root = None: expected a file; give --option dataset.ramp.root=VALUE"
    assert rows["dataset"]["unchecked"] == wanted
    assert "of CPU time" not in rows["plugin"]["note"]  # a file of its own may import torch


def test_options_and_broken_rules(checked, tmp_path):
    (tmp_path / "here").touch()
    given = ("--option", f"ramp.root={tmp_path / 'here'}")
    rows = checked(
        "checked_broken",
        *given,
        "--set",
        "seed=3",
        text="LIMIT = 99",
        replacement="LIMIT = 4",
        code=1,
    )
    assert rows["dataset"]["status"] == "ok"
    assert [each["rule"] for each in rows["hooks"]["broken"]] == ["no-hook-fails"]
    assert "AssertionError" in rows["hooks"]["broken"][0]["found"]


def test_what_a_component_of_any_kind_needs_is_named(plugin_file):
    target = 'target=f"{__name__}:descent", '
    path = plugin_file("wants_a_rate", PLUGIN.replace(target, target + CONFIG))
    registry, records = find_plugin(str(path))
    declared, optimizer = islice(checked_parts(registry, records, {}, {}), 2)
    assert declared.status == "ok"
    wanted = "this setting is required: learning rate; give --option optimizer.descent.rate=VALUE"
    assert optimizer.unchecked == f"optimizer.rate: {wanted}"


def test_options_of_a_name_that_several_kinds_have_need_the_kind(plugin_file, tmp_path):
    (tmp_path / "here").touch()
    path = plugin_file("two_of_a_name", PLUGIN.replace('name="ramp"', 'name="descent"'))
    given = {"descent": {"root": str(tmp_path / "here")}}
    registry, records = find_plugin(str(path))
    with pytest.raises(
        UsageError, match=r"give optimizer\.descent\.OPTION=VALUE or dataset\.descent"
    ):
        next(checked_parts(registry, records, given, {}))
    _, optimizer, dataset = islice(
        checked_parts(registry, records, {"dataset": given}, {}, {"no-step-waits"}), 3
    )
    assert (optimizer.status, dataset.status) == ("ok", "ok")


@pytest.mark.parametrize(
    ("name", "text", "replacement", "arguments", "found"),
    [
        (
            "refuses_rates",
            "def descent(params, rate=0.01):",
            "def descent(params, rate=0.01):\n    refuse()",
            (),
            "rate = 2",
        ),
        ("lacks_files", "", "", ("--option", "ramp.root=nowhere"), "dataset.root = 'nowhere'"),
    ],
)
def test_a_component_that_cannot_be_built_is_broken(
    checked, name, text, replacement, arguments, found
):
    refuse = "def refuse():\n    raise SettingError('rate', 2, 'less')\n\n"
    rows = checked(
        name, "--skip", "no-step-waits", *arguments,
        text=text, replacement=refuse + replacement, code=1,
    )  # fmt: skip
    broken = [each for row in rows.values() for each in row["broken"]]
    assert broken[-1]["rule"] == "can-be-built"
    assert found in broken[-1]["found"]


def test_the_table_names_broken_rules_with_their_text(vq, plugin_file):
    without_hooks = PLUGIN.replace("def vq_step_end", "def vq_manifolds").replace("(step):", "():")
    source = without_hooks.replace("assert step < LIMIT", "return []").replace("0.01", "0.0")
    path = plugin_file("checked_table", source)
    result = vq("check-plugin", path)
    assert result.code == 1
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert any(line.startswith("optimizer descent 10") and "broken" in line for line in lines)
    assert any("a-quadratic-is-lowered: A hundred steps lower" in line for line in lines)
    assert any(line.startswith("dataset ramp is not checked: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 3, "no plugin 'nowhere' is found"),
        (["vqcore-emma"], 3, "did you mean"),
        (["missing.py"], 3, "no such plugin file"),
        (["lacks_a_module"], 3, "No module named 'nowhere' (lacks_a_module:1); install it"),
        (["lacks_a_mark"], 3, "vq_losses is not marked: decorate it with @vqcore.hookimpl"),
        (["ema", "--option", "decay=1"], 2, "expected NAME.OPTION=VALUE"),
        (["ema", "--option", "emma.decay=1"], 2, "--option 'emma': there is no such name; did you"),
        (["ema", "--option", "quantizer.ema=1"], 2, "expected KIND.NAME.OPTION=VALUE"),
        (["ema", "--option", "quantizer.emma.decay=1"], 2, "did you mean 'quantizer.ema'?"),
        (["ema", "--skip", "no-step-wait"], 2, "did you mean 'no-step-waits'?"),
        (["ema", "--set", "seed"], 2, "expected key=value"),
    ],
)
def test_what_cannot_be_checked(vq, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lacks_a_module.py").write_text("import nowhere")
    (tmp_path / "lacks_a_mark.py").write_text("VQ_API = 1\ndef vq_losses(): return []")
    result = vq("check-plugin", *arguments)
    assert result.code == code
    assert message in result.err + result.out
