"""``vq check-plugin``: what it finds, however a plugin is named, and how it ends."""

import json

import pytest

#: An optimizer and a data set that needs a folder; hooks that follow runs.
PLUGIN = '''
from pathlib import Path
import torch
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

def descent(params):
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
    assert "dataset.root = None: expected a file" in rows["dataset"]["unchecked"]
    assert "--option ramp.OPTION=VALUE" in rows["dataset"]["unchecked"]


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


@pytest.mark.parametrize(
    ("name", "text", "replacement", "arguments", "found"),
    [
        (
            "refuses_rates",
            "def descent(params):",
            "def descent(params):\n    refuse()",
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
    assert f"SettingError: {found}" in broken[-1]["found"]


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
        (["ema", "--option", "decay=1"], 2, "expected NAME.OPTION=VALUE"),
        (["ema", "--set", "seed"], 2, "expected key=value"),
    ],
)
def test_what_cannot_be_checked(vq, arguments, code, message):
    result = vq("check-plugin", *arguments)
    assert result.code == code
    assert message in result.err + result.out
