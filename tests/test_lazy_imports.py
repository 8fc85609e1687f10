"""Nothing heavy is imported before a component is built: checked in a new process a command."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {
    *("torch", "torchvision", "geoopt", "sklearn", "matplotlib", "gudhi", "gph", "accelerate"),
    *("numpy", "scipy", "PIL", "safetensors"),
}
PROBE = """
import json, sys
sys.argv[0] = "vq"
code = 0
try:
    from vq.cli.process import main
    main()
except SystemExit as end:
    code = end.code or 0
modules = sorted({name.partition(".")[0] for name in sys.modules})
print("\\n" + json.dumps([code, modules]), file=sys.stderr)
"""
CHOICES = ["--manifold", "poincare", "--quantizer", "grouped", "--set", "quantizer.inner.name=ema"]
CHOICES += ["--estimator", "rotation", "--regularizer", "homology"]
CHOICES += ["--optimizer", "riemannian-adam", "--dataset", "trees"]
COMMANDS = {
    "help": (["--help"], "list-plugins"),
    "version": (["--version"], "torch "),
    "train-help": (["train", "--help"], "--regularizer"),
    "report-help": (["report", "--help"], "--output"),
    "list-plugins": (["list-plugins"], "poincare"),
    "list-plugins-json": (["list-plugins", "--json"], '"poincare"'),
    "show": (["show", "manifold", "poincare"], "curvature"),
    "show-run": (["show", "run"], "grad_clip"),
    "show-kind": (["show", "quantizers"], "residual"),
    "show-json": (["show", "regularizer", "homology", "--json"], '"weight"'),
    "dry-run": (["train", "--dry-run", *CHOICES], "trees-poincare-grouped-rotation-homology"),
    "print-config": (["train", "--print-config", *CHOICES], "name: vqcore-hyperbolic/poincare"),
    "reproduce": (["reproduce", "--list"], "experiment"),
    "sweep": (["sweep", "--dry-run", *CHOICES, "--dim", "4,8"], "2 runs, all configs valid"),
    "unknown-name": (["train", "--manifold", "poincar"], ""),
    "bad-option": (["train", "--set", "manifold.radius=1"], ""),
    "other-name": (["train", "--decay", "0.9"], ""),
    "no-run": (["report", "nowhere"], ""),
}
#: Commands for which even the models of settings would take a third of the start.
BARE = ("help", "version", "train-help", "report-help", "list-plugins-json")
EXIT_CODES = {"unknown-name": 3, "bad-option": 2, "other-name": 2, "no-run": 2}
COMPLETIONS = {
    "vq tra": "train",
    "vq train --mani": "--manifold",
    "vq train --preset hyperbolic-vqvae --manifold.cu": "--manifold.curvature",
}


def run(arguments, **variables):
    """Exit code, top-level modules and output of ``vq`` in a fresh process."""
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | variables, check=False
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules), done.stdout


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_that_builds_nothing_imports_nothing_heavy(case):
    arguments, expected = COMMANDS[case]
    code, modules, out = run(arguments)
    assert code == EXIT_CODES.get(case, 0), out
    assert expected in out
    plugins = {
        "vq_hyperbolic",
        "vq_homology",
        "vq_grouped",
        "vq_lookup_free",
        "vq_report",
        "vq_prior",
        "vq_papers",
    }
    assert {"vq", "vqcore", *plugins} <= modules
    assert not modules & HEAVY
    assert case not in BARE or "pydantic" not in modules


@pytest.mark.parametrize("arguments", [["sample"], ["encode", "empty", "-o", "codes"]])
def test_an_input_that_is_missing_is_told_without_anything_heavy(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").touch()
    (tmp_path / "empty").mkdir()
    code, modules, _ = run([arguments[0], ".", *arguments[1:]])
    assert code == 2
    assert not modules & HEAVY


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completion_imports_nothing_heavy(line):
    code, modules, out = run([], _VQ_COMPLETE="complete_bash", _VQ_LINE=line)
    assert code == 0
    assert COMPLETIONS[line] in out.split()
    assert "vqcore" in modules
    assert not modules & {*HEAVY, "pydantic"}


def test_a_new_plugin_is_written_without_anything_heavy(tmp_path):
    code, modules, out = run(["new-plugin", "vq-probe", str(tmp_path / "probe"), "--kind", "loss"])
    assert code == 0, out
    assert (tmp_path / "probe" / "pyproject.toml").exists()
    assert not modules & {*HEAVY, "pydantic"}


def test_the_probe_sees_what_building_a_component_imports():
    code, modules, _ = run(["list-plugins", "--check", "--kind", "estimator"])
    assert code == 0
    assert {"torch", "numpy"} <= modules


def test_a_run_imports_no_library_that_it_does_not_use(tmp_path):
    code, modules, out = run(["train", "--max-steps", "1", "--run-dir", str(tmp_path / "run")])
    assert code == 0, out
    assert {"codebook.png", "curves.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    unused = {"torchvision", "sklearn", "scipy", "matplotlib", "geoopt", "gudhi", "gph"}
    assert not modules & unused


def test_the_public_names_and_interfaces_of_a_plugin_import_nothing_heavy():
    modules = ("component", "component_config", "hooks", "loader", "protocols", "registry")
    names = ", ".join(["vqcore", "vqcore.errors", *(f"vqcore.plugin.{name}" for name in modules)])
    public = "ComponentSpec, RegularizerConfig, hookimpl"
    source = f"import sys, {names}\nfrom vqcore import {public}\nprint(*sys.modules)"
    command = [sys.executable, "-c", source]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


def test_importing_the_python_api_imports_nothing_heavy():
    command = [sys.executable, "-c", "import sys, vq\nprint(vq.__all__)\nprint(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
