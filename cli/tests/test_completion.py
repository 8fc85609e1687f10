"""Completion: what may stand at the cursor, and that bash, zsh and fish insert it."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main

from vq.cli.app import build_app
from vq.cli.completion.candidates import candidates
from vq.cli.completion.scripts import SHELLS, script
from vq.cli.completion.shells import answer, split_line
from vq.testing import run_command
from vqcore.plugin.registry import Registry, default_registry

SETTINGS = """
from vqcore import ComponentConfig, hookimpl
VQ_API = 1
@hookimpl
def vq_settings():
    return "own_settings:Own"
class Own(ComponentConfig):
    rate: int = 1
    '''How often.'''
"""


def complete(*words, registry=None):
    """The candidates for the last word, with their descriptions."""
    *before, incomplete = words
    return dict(candidates(registry or default_registry(), before, incomplete))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two runs, a run of a sweep and other files."""
    for run in ("runs/first one", "runs/second", "sweeps/s/runs/dim=4", "elsewhere/mine"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.yaml").write_text("manifold: {name: vqcore-hyperbolic/poincare}")
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "settings.yaml").write_text("quantizer: {name: grouped, inner: ema}\n")
    factors = "manifold: {name: product, factors: [{name: sphere, curvature: 2}, poincare]}\n"
    (tmp_path / "factors.yaml").write_text(factors)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- commands and options -----------------------------------------------------


def test_commands_those_of_plugins_too():
    found = complete("")
    assert {"train", "show", "doctor", "report", "reproduce"} <= set(found)
    assert found["train"].startswith("Train a vector-quantized autoencoder")
    assert complete("--debug", "-p", "no:homology", "tr") == {"train": found["train"]}


def test_options_before_and_after_the_command():
    assert {"--debug", "--version", "-p"} <= set(complete("-"))
    found = complete("train", "--max")
    assert list(found) == ["--max-steps"]
    assert "--steps" in complete("sweep", "--st")
    assert "--jobs" in complete("sweep", "--j")
    assert complete("train", "--", "--max") == {}
    assert complete("no-such-command", "--") == {}


def test_plugins_to_be_turned_off():
    assert set(complete("-p", "no:homo")) == set(complete("-p", "no:homology"))
    assert "-pno:homology" in complete("-pno:ho")


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion", "--version"])
def test_options_before_the_cursor_do_not_act(option, monkeypatch, capsys):
    monkeypatch.setattr("vq.cli.completion.install._shell", lambda _: pytest.fail("it is asked"))
    assert "no:homology" in complete(option, "-p", "no:ho")
    app = typer.main.get_command(build_app(default_registry()))
    app.make_context("vq", [option], resilient_parsing=True).close()
    assert capsys.readouterr().out == ""


# -- names and values ---------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "--manifold", "poi"], ["poincare"]),
        (["train", "--manifold=poi"], ["--manifold=poincare"]),
        (["train", "--regularizer", "homology", "--regularizer", "ent"], ["entropy"]),
        (["train", "--preset", "vqgan"], ["vqgan-f16", "vqgan-f8"]),
        (["train", "--precision", "f"], ["fp16", "float64"]),
        (["train", "--device", "c"], ["cpu", "cuda"]),
        (["train", "--tracker", "t"], ["tensorboard"]),
        (["train", "--set", "manifold=poi"], ["manifold=poincare"]),
        (["train", "--set", "compile="], ["compile=true", "compile=false"]),
        (["sweep", "--manifold", "euclidean,lor"], ["euclidean,lorentz"]),
        (["sweep", "--set", "schedule=linear,cos"], ["schedule=linear,cosine"]),
        (["list-plugins", "--kind", "man"], ["manifold"]),
        (["new-plugin", "mine", "--kind", "man"], ["manifold"]),
        (["check-plugin", "homo"], ["homology"]),
        (["reproduce", "trees", "rotation-b"], ["rotation-beta"]),
        (["decode", "run", "out", "--format", "p"], ["png"]),
        (["train", "--batch-size", ""], []),
        (["show", "poi"], ["poincare"]),
        (["show", "manifold", "poi"], ["poincare"]),
        (["show", "run", "grad"], ["grad_clip"]),
        (["show", "preset", "tit"], ["titok"]),
        (["show", "plugin", "homo"], ["homology"]),
        (["show", "manifold", "poincare", ""], []),
    ],
)
def test_names_and_values(words, expected):
    assert list(complete(*words)) == expected


def test_a_value_has_its_description():
    assert complete("train", "--manifold", "lor")["lorentz"].startswith("hyperbolic space")


# -- option keys --------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--quantizer.dead_code_p"], ["--quantizer.dead_code_patience"]),
        (
            ["--manifold", "poincare", "--manifold.cu"],
            ["curvature", "curvature_lr", "curvature_span"],
        ),
        (["--preset", "hyperbolic-vqvae", "--manifold.sea"], ["search"]),
        (["--config", "settings.yaml", "--quantizer.inner.dec"], ["--quantizer.inner.decay"]),
        (["--set", "quantizer.name=ema", "--quantizer.dec"], ["--quantizer.decay"]),
        (["--manifold", "poincare", "--manifold.search", ""], ["geodesic", "ball"]),
        (["--manifold", "poincare", "--manifold.search="], ["=geodesic", "=ball"]),
        (["--manifold", "product", "--manifold.factors", "poincare,sp"], ["poincare,sphere"]),
        (["--manifold", "product", "--manifold.factors=lor"], ["--manifold.factors=lorentz"]),
        (
            [
                "--manifold",
                "product",
                "--manifold.factors=lorentz:4,sphere:2",
                "--manifold.factors.0.max",
            ],
            ["--manifold.factors.0.max_radius"],
        ),
        (["--manifold", "product", "--manifold.factors."], ["factors.0", "factors.1"]),
        (["--manifold", "product", "--set", "manifold.factors.1.max"], ["max_angle="]),
        (["--config", "factors.yaml", "--manifold.factors.1.sea"], ["factors.1.search"]),
        (["--set", "manifold"], ["manifold=", "manifold."]),
        (["--reg"], ["--regularizer", "--regularizers."]),
        (["--plugins"], []),  # no plugin has settings
        (["--manifold"], ["--manifold", "--manifold."]),
        (["--set", "regularizers.homol"], ["regularizers.homology."]),
        (["--set", "regularizers.homology.wei"], ["regularizers.homology.weight="]),
        (["--set", "regularizers.homology.gather=t"], ["regularizers.homology.gather=true"]),
        (["--set", "quantizer.nothing.x"], []),
        (["--manifold", "nothing", "--manifold.c"], []),
    ],
)
def test_option_keys_are_those_of_what_the_line_chooses(folder, words, expected):
    found = list(complete("train", *words))
    assert len(found) == len(expected)
    assert all(text.endswith(end) for text, end in zip(found, expected, strict=True)), found


def test_settings_of_plugins(tmp_path, monkeypatch, unloaded_modules):
    path = tmp_path / "own_settings.py"
    path.write_text(SETTINGS)
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry(files=[path])
    assert list(complete("train", "--plugins.own", registry=registry)) == [
        "--plugins.own_settings."
    ]
    found = complete("train", "--plugins.own_settings.", registry=registry)
    assert found == {"--plugins.own_settings.rate": "How often."}


# -- files and folders --------------------------------------------------------


def test_run_folders(folder):
    runs = {"runs/first one", "runs/second", "sweeps/s/runs/dim=4"}
    assert set(complete("evaluate", "")) == runs
    assert set(complete("train", "--resume", "runs/")) == {
        "runs/second",
        "runs/first one",
        "runs/no-run/",
    }
    assert set(complete("compare", "runs/second", "sw")) == {"sweeps/s/runs/dim=4"}
    assert set(complete("evaluate", "else")) == {"elsewhere/"}
    assert "elsewhere/mine" in complete("evaluate", "elsewhere/")
    assert "runs/second" in complete("train", "--init-from", "runs/s")


def test_files(folder):
    assert set(complete("train", "--config", "se")) == {"settings.yaml"}
    assert set(complete("train", "--config=se")) == {"--config=settings.yaml"}
    assert set(complete("encode", "run", "r")) == {"runs/"}
    assert complete("encode", "run", "no-such-folder/") == {}


# -- the shells ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vq tra", (["tra"], "")),
        ("vq train ", (["train", ""], "")),
        ("vq train --manifold=po", (["train", "--manifold=po"], "")),
        ("vq evaluate 'runs/first o", (["evaluate", "runs/first o"], "'")),
        ("vq evaluate \"it's", (["evaluate", "it's"], '"')),
        (r"vq evaluate runs/first\ o", (["evaluate", "runs/first o"], "")),
        ("vq train # no comment", (["train", "#", "no", "comment"], "")),
    ],
)
def test_a_line_is_split_as_bash_does(line, expected):
    assert split_line(line) == expected


def test_nothing_but_candidates_is_printed(capsys, monkeypatch):
    monkeypatch.setattr("vq.cli.completion.shells.candidates", lambda *_: 1 / 0)
    for instruction in ("complete_fish", "complete_tcsh", "source_", "nothing"):
        monkeypatch.setenv("_VQ_COMPLETE", instruction)
        answer()
    assert capsys.readouterr() == ("", "")


def test_what_a_plugin_prints_is_no_candidate(capfd, monkeypatch):
    def loud(*_):
        os.write(1, b"from C")
        return [("train", "")]

    monkeypatch.setattr("vq.cli.completion.shells.candidates", loud)
    monkeypatch.setenv("_VQ_COMPLETE", "complete_fish")
    answer()
    assert capfd.readouterr() == ("train\t\n", "from C")


def test_a_script_is_printed_for_the_shell_that_asks(vq, monkeypatch, tmp_path):
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("fish", "/usr/bin/fish"))
    assert vq("--show-completion").out == script("fish")
    monkeypatch.setenv("HOME", str(tmp_path))
    result = vq("--install-completion")
    assert result.code == 0, result
    assert (tmp_path / ".config/fish/completions/vq.fish").read_text() == script("fish")
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("tcsh", "/bin/tcsh"))
    refused = vq("--show-completion")
    assert refused.code == 2
    assert "the shell is tcsh: expected bash, zsh, fish" in refused.err


def test_a_shell_that_is_named_need_not_ask(vq, monkeypatch, tmp_path):
    monkeypatch.setattr("shellingham.detect_shell", lambda: pytest.fail("it is asked"))
    assert vq("--show-completion", "/usr/bin/fish").out == script("fish")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vq("--install-completion", "zsh").code == 0
    assert (tmp_path / ".zfunc/_vq").read_text() == script("zsh")
    refused = vq("--install-completion", "train")
    assert refused.code == 2
    assert "the shell is train: expected bash, zsh, fish; name one, as in vq" in refused.err
    assert list(complete("--install-completion", "")) == list(SHELLS)
    assert list(complete("--debug", "--show-completion", "z")) == ["zsh"]


def test_a_shell_is_named_in_a_command_that_is_run_in_this_process(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "--show-completion", "bash"])
    assert run_command("--show-completion", "zsh").stdout == script("zsh")
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("fish", "/usr/bin/fish"))
    assert run_command("--show-completion").stdout == script("fish")


@pytest.fixture
def shell(folder, monkeypatch):
    """A function that skips where a shell is missing; ``vq`` is found in it."""
    commands = folder / "bin"
    commands.mkdir()
    command = commands / "vq"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vq "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")

    def need(name):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        path = folder / f"completion.{name}"
        path.write_text(script(name))
        return path

    return need


def test_bash(shell):
    source = shell("bash")
    lines = ["vq train --manifold=po", "vq -p no:homo", "vq evaluate runs/f", "vq evaluate 'runs/f"]
    tries = "".join(
        f'COMP_LINE="{line}"; COMP_POINT={len(line)}; _vq_completion vq; printf "%s|" '
        f'"${{COMPREPLY[@]}}"; echo\n'
        for line in lines
    )
    done = subprocess.run(
        ["bash", "-c", f". '{source}'\n{tries}"], capture_output=True, text=True, check=True
    )
    inserted = ["poincare|", "homology|", r"runs/first\ one|", "runs/first one|"]
    assert done.stdout.splitlines() == inserted


@pytest.mark.parametrize(
    ("line", "inserted"),
    [
        ('vq evaluate "runs/', ["runs/it's", "runs/plain"]),
        ("vq evaluate 'runs/", ["runs/$(touch pwned)", "runs/plain"]),
        ("vq evaluate runs/", [r"runs/\$\(touch\ pwned\)", r"runs/it\'s", "runs/plain"]),
    ],
)
def test_bash_acts_on_nothing_that_is_inserted(tmp_path, monkeypatch, capsys, line, inserted):
    for name in ("$(touch pwned)", "it's", "plain"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_VQ_COMPLETE", "complete_bash")
    monkeypatch.setenv("_VQ_LINE", line)
    answer()
    assert sorted(capsys.readouterr().out.splitlines()) == inserted


def test_fish(shell, tmp_path, monkeypatch):
    source = shell("fish")
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = ["vq train --manifold ", "vq train --manifold=po", "vq evaluate runs/f"]
    tries = "; ".join(f"complete -C '{line}'" for line in lines)
    done = subprocess.run(
        ["fish", "-c", f"source '{source}'; {tries}"], capture_output=True, text=True, check=True
    )
    texts = done.stdout.splitlines()
    assert "euclidean\tflat space, nearest code by squared distance" in texts
    assert any(text.startswith("--manifold=poincare\thyperbolic") for text in texts)
    assert any(text.replace("\\", "").startswith("runs/first one\t") for text in texts)


def test_zsh(shell, tmp_path):
    source = shell("zsh")
    (tmp_path / "odd" / "$(touch pwned)").mkdir(parents=True)
    (tmp_path / "odd" / "$(touch pwned)" / "config.yaml").touch()
    ready = (
        f"autoload -Uz compinit; compinit -u -d '{tmp_path}/dump'; . '{source}'; "
        "bindkey '^I' complete-word; setopt NO_BEEP; "
        'report() { print -r -- "<$BUFFER>"; BUFFER=; zle reset-prompt }; zle -N report; '
        "bindkey '^X' report; echo REA''DY"
    )
    lines = {
        "vq train --manifold=poi": "vq train --manifold=poincare ",
        "vq -p no:homo": "vq -p no:homology ",
        "vq train --set manifold.na": "vq train --set manifold.name=",
        "vq evaluate sw": "vq evaluate sweeps/s/runs/dim=4 ",
        # nothing acts in a quote that is open
        'vq evaluate "odd/': r'vq evaluate "odd/\$(touch pwned)" ',
        "vq evaluate 'odd/": "vq evaluate 'odd/$(touch pwned)' ",
    }
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="dumb", COLUMNS="300")
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        os.write(terminal, f"{ready}\n".encode())
        _until(terminal, rb"READY\r\n")
        for line, expected in lines.items():
            os.write(terminal, f"{line}\t\x18".encode())  # the report waits for the completion
            assert _until(terminal, rb"<(vq [^>]*)>")[1].decode() == expected
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def _until(terminal, mark, patience=120):
    """What a terminal printed, up to a mark."""
    printed, end = b"", time.monotonic() + patience
    while time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            printed += os.read(terminal, 2**16)
        if found := re.search(mark, printed):
            return found
    raise TimeoutError(printed)


def test_the_scripts_are_beside_the_code():
    assert all("_VQ_COMPLETE" in script(name) for name in SHELLS)
    assert Path(candidates.__code__.co_filename).with_name("vq.bash").is_file()
