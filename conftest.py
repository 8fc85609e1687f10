"""Shared fixtures. One thread a test: two on a busy machine are many times slower."""

import contextlib
import importlib
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import vqcore  # noqa: F401 - the package, before pytest takes the folder of the same name for it


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--full`` trains the whole product of components instead of a pairwise array."""
    parser.addoption("--full", action="store_true", help="train every combination of components")


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What runs keep for a user, such as the key that folders are signed with: not in the home."""
    path = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(path))
        patch.setenv("HF_DATASETS_CACHE", str(path / "tables"))
        yield path


@pytest.fixture
def unloaded_modules(tmp_path: Path) -> Iterator[None]:
    """Unload the modules that a test imports from its folder."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def distribution(tmp_path, monkeypatch, unloaded_modules):
    """A function of package, {module: source} and {entry point: module}.

    It puts a dist-info folder and the modules on sys.path, which are found without an install.
    """
    monkeypatch.delenv("VQ_DISABLE_PLUGINS", raising=False)

    def put(package, modules, entries):
        folder = tmp_path / package
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{entry} = {module}" for entry, module in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[vqcore]", *lines, ""]))
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        return folder

    return put


# -- the command, run in this process: importing torch costs three seconds

#: A run that trains in a tenth of a second.
TINY = ("--set", "backbone.hidden=8", "--set", "log_every=4", "--codebook-size", "16")


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def run_vq(*arguments, columns=140):
    """Run ``vq`` as its entry point does. An exception that escapes is a traceback to a user."""
    from vq.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["vq", *map(str, arguments)])
        patch.setenv("COLUMNS", str(columns))
        patch.setattr("vq.display.PATIENCE", math.inf)  # a busy machine adds no lines
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
    return Result(code, out.getvalue(), err.getvalue())


class TrainedRun:
    """A run folder, read."""

    def __init__(self, path, result):
        self.path, self.result = Path(path), result

    @property
    def metrics(self):
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    @property
    def steps(self):
        return [line["step"] for line in self.metrics]

    def json(self, name):
        return json.loads((self.path / f"{name}.json").read_text())

    @property
    def checkpoint(self):
        folder = self.path / "checkpoints"
        return folder / (folder / "latest").read_text().strip()

    @property
    def weights(self):
        return (self.checkpoint / "model.safetensors").read_bytes()

    def contents(self):
        """The bytes of every file by its path."""
        return {
            str(p.relative_to(self.path)): p.read_bytes()
            for p in self.path.rglob("*")
            if p.is_file()
        }


@pytest.fixture
def vq(tmp_path, monkeypatch):
    """The command, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return run_vq


@pytest.fixture
def vq_afresh(tmp_path, monkeypatch, unloaded_modules):
    """The command, which finds the plugins anew each time: exit code, output, errors."""
    from vqcore.plugin.registry import default_registry

    monkeypatch.chdir(tmp_path)
    for name in ("VQ_DISABLE_PLUGINS", "VQ_DEBUG"):
        monkeypatch.setenv(name, "")

    def call(*arguments):
        default_registry.cache_clear()
        done = run_vq(*arguments, columns=300)
        return done.code, done.out, done.err

    yield call
    default_registry.cache_clear()


@pytest.fixture
def without_plots(monkeypatch):
    """A run without its two plots: drawing takes far longer than training does here."""
    from vq_report import plots

    for name in ("save_curves", "save_codebook"):
        monkeypatch.setattr(plots, name, lambda *_args: None)


@pytest.fixture
def without_homology_plots(monkeypatch):
    """The plots of the homology plugin left out, for the same reason."""
    from vq_homology import plots

    monkeypatch.setattr(plots, "save", lambda *_args: None)


@pytest.fixture
def train(vq, without_plots, tmp_path):
    """``vq train`` on a tiny model, without plots: ``train("--seed", 1, run="name")``."""

    def start(*arguments, run="run", code=0):
        steps = () if {"--max-steps", "--epochs"} & set(arguments) else ("--max-steps", 8)
        result = vq("train", *TINY, *steps, *arguments, "--run-dir", tmp_path / run)
        assert result.code == code, result
        return TrainedRun(tmp_path / run, result)

    return start


@pytest.fixture
def resume(vq, without_plots):
    """``vq train --resume`` of a TrainedRun."""

    def start(run, *arguments, code=0):
        result = vq("train", "--resume", run.path, *arguments)
        assert result.code == code, result
        return TrainedRun(run.path, result)

    return start


@pytest.fixture
def plugin_file(tmp_path):
    """A function that writes a plugin file, given name and source, and returns its path."""
    folder = tmp_path / "plugin-files"

    def write(name, source):
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.py"
        path.write_text(
            f"from vqcore import ComponentSpec, Regularizer, hookimpl\nVQ_API = 1\n{source}"
        )
        return path

    yield write
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def complete_run(tmp_path_factory):
    """One run with everything in it, for tests that only read."""
    path = tmp_path_factory.mktemp("complete") / "run"
    choices = (
        "--manifold",
        "poincare",
        "--quantizer",
        "ema",
        "--estimator",
        "rotation",
        "--regularizer",
        "entropy",
    )
    often = [
        part for name in ("eval", "sample", "checkpoint") for part in ("--set", f"{name}_every=4")
    ]
    result = run_vq("train", *TINY, *choices, *often, "--max-steps", 12, "--run-dir", path)
    assert result.code == 0, result
    return TrainedRun(path, result)


@pytest.fixture
def copied_run(complete_run, tmp_path):
    """A copy of ``complete_run``, to be damaged or resumed."""
    path = shutil.copytree(complete_run.path, tmp_path / "copied")
    return TrainedRun(path, complete_run.result)


#: A prior that trains in a tenth of a second.
SMALL_PRIOR = ("--layers", 1, "--width", 16, "--heads", 2, "--epochs", 1)


@pytest.fixture(scope="session")
def run_with_prior(complete_run, tmp_path_factory):
    """A copy of ``complete_run`` with a prior and the output of ``vq prior``, for reading only."""
    path = shutil.copytree(complete_run.path, tmp_path_factory.mktemp("prior") / "run")
    result = run_vq("prior", path, *SMALL_PRIOR)
    assert result.code == 0, result
    return TrainedRun(path, result)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium, for all tests of a file."""
    from browser import CHROMIUM, Browser

    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()
