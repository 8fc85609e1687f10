"""Options before a command's name: a plugin turned off, and tracebacks."""

import logging
import os

import pytest

from vq.cli.debug import debugging, is_on
from vq.cli.global_options import GlobalOptions
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Registry

RAISES = """
from vqcore import hookimpl
VQ_API = 1
def helper():
    raise ValueError("no [such] thing")
@hookimpl
def {hook}({arguments}):
    helper()
"""


@pytest.fixture
def vq(vq_afresh):
    return vq_afresh


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (None, (), False)),
        (["train", "-p", "no:a"], ("train", (), False)),
        (["-p", "no:a", "--debug", "-pno:b", "train"], ("train", ("a", "b"), True)),
        (["-p"], (None, (), False)),
        (["-p", "a", "--version", "show"], ("show", (), False)),
    ],
)
def test_the_options_are_those_before_the_command(words, expected):
    found = GlobalOptions.read(words)
    assert (found.command, found.turned_off, found.debug) == expected


# -- a plugin turned off ------------------------------------------------------


@pytest.mark.parametrize("name", ["hyperbolic", "vqcore-hyperbolic", "vqcore_hyperbolic"])
def test_a_plugin_is_turned_off_by_its_name_or_its_package(vq, name):
    code, _, err = vq("-p", f"no:{name}", "train", "--dry-run", "--manifold", "poincare")
    assert code == 3
    assert "hyperbolic is not loaded (disabled): named in VQ_DISABLE_PLUGINS or by vq -p" in err


def test_several_are_turned_off_their_commands_too(vq):
    code, out, err = vq("-p", "no:homology", "-pno:vq-report", "--help")
    assert (code, err) == (0, "")
    assert "reproduce" in out
    assert "compare" not in out
    assert os.environ["VQ_DISABLE_PLUGINS"] == ""


def test_other_processes_follow_while_a_command_runs(vq, monkeypatch):
    """Those of a launcher have the same command line; the others inherit the environment."""
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "ema")
    with GlobalOptions.read(["-p", "no:homology", "--debug", "train"]).applied():
        found = [os.environ[name] for name in ("VQ_DISABLE_PLUGINS", "VQ_DEBUG")]
    assert found == ["ema,homology", "1"]
    found = [os.environ[name] for name in ("VQ_DISABLE_PLUGINS", "VQ_DEBUG")]
    assert found == ["ema", ""]


def test_the_runs_of_a_sweep_follow(vq, monkeypatch):
    found = []

    class Process:
        returncode = 0

        def __init__(self, command, *, env, **_options):
            found.append((env["VQ_DISABLE_PLUGINS"], env["VQ_DEBUG"]))

        def poll(self):
            return self.returncode

    monkeypatch.setattr("vq.sweeps.execute.Popen", Process)
    vq("-p", "no:homology", "--debug", "sweep", "--seed", "0,1", "--run-dir", "sweep")
    assert found == [("homology", "1")] * 2


def test_a_name_that_no_plugin_has_is_warned_of(vq):
    code, _, err = vq("-p", "no:homolgy", "show", "manifolds")
    assert code == 0
    assert err == (
        "warning: -p no:homolgy: no installed plugin has this name; did you mean 'homology'?\n"
    )


@pytest.mark.parametrize("value", ["homology", "no:"])
def test_another_value_is_refused(vq, value):
    code, _, err = vq("-p", value, "show", "manifolds")
    assert code == 2
    assert f"'{value}': expected no:NAME, which turns a plugin off" in err


# -- tracebacks ---------------------------------------------------------------


@pytest.mark.parametrize("given", ["option", "variable"])
def test_the_traceback_of_an_error_is_shown_and_the_exit_code_stays(vq, monkeypatch, given):
    words = ["train", "--dry-run", "--manifold", "poincar"]
    code, _, without = vq(*words)
    assert (code, without.count("\n"), "Traceback" in without) == (3, 1, False)
    if given == "option":
        words.insert(0, "--debug")
    else:
        monkeypatch.setattr("vq.cli.debug.is_on", lambda: True)
    code, _, err = vq(*words)
    assert code == 3
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith(f"\n{without}")


@pytest.mark.parametrize(("value", "on"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_a_variable_of_0_is_off(monkeypatch, value, on):
    monkeypatch.setenv("VQ_DEBUG", value)
    assert is_on() == on


@pytest.fixture
def failing(tmp_path, unloaded_modules):
    """A function that writes a plugin file whose hook raises."""

    def write(hook, arguments=""):
        path = tmp_path / f"fails_in_{hook}.py"
        path.write_text(RAISES.format(hook=hook, arguments=arguments))
        return path

    return write


def test_the_cause_of_a_broken_plugin_is_shown(vq, failing):
    path = failing("vq_manifolds")
    code, out, err = vq("--debug", "list-plugins", "--plugin-file", path)
    assert code == 0
    assert "ValueError: no [such] thing" in out
    assert "plugin fails_in_vq_manifolds of" in err
    assert "in helper" in err
    assert "Traceback" not in vq("list-plugins", "--plugin-file", path)[2]


def test_the_traceback_of_a_hook_that_is_reported_once(failing, monkeypatch, capsys):
    monkeypatch.setenv("VQ_DEBUG", "1")
    warned = []
    caller = HookCaller(
        Registry(discover=False, files=[failing("vq_log", "metrics")]), warned.append
    )
    with debugging():
        for _ in range(2):
            caller.call("vq_log", run=None, metrics={})
    assert len(warned) == 1
    assert capsys.readouterr().err.count("in helper") == 1
    assert logging.getLogger("vqcore").level == logging.NOTSET
