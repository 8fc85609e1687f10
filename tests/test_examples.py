"""What examples/ has works: packages installed as a stranger's, training loops, the notebook."""

import importlib
from pathlib import Path

import pytest
import torch
from offline import needs_uv, plugin_environment

EXAMPLES = Path(__file__).parent.parent / "examples"
PACKAGES = sorted(file.parent for file in EXAMPLES.glob("*/pyproject.toml"))


@needs_uv
def test_the_packages_install_and_pass_their_tests(tmp_path):
    """One environment and one process for all: importing torch costs seconds."""
    environment = plugin_environment(tmp_path / "environment", PACKAGES)
    tests = [package / "tests" for package in PACKAGES]
    assert all(folder.is_dir() for folder in tests)
    command = ("python", "-m", "pytest", "-n0")  # the options of pyproject.toml, in this process
    done = environment.run(*command, *tests, EXAMPLES / "tests", cwd=EXAMPLES.parent)
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


# -- the training loops -----------------------------------------------------

#: Steps of an epoch: images are fewer than in the example.
STEPS = 2


@pytest.fixture
def loop(monkeypatch):
    """A function that imports a training loop as it is where it runs, with few images."""
    monkeypatch.syspath_prepend(EXAMPLES / "loops")
    monkeypatch.delitem(importlib.sys.modules, "autoencoder", raising=False)

    def load(name):
        shared, images = importlib.import_module("autoencoder"), torch.rand(250, 1, 8, 8)
        monkeypatch.setattr(shared, "digits", lambda: (images, images[:100]))
        return importlib.import_module(name)

    return load


def test_the_plain_loop_resumes_to_the_bit(loop, tmp_path, capsys):
    train = loop("plain_pytorch").train
    whole = train(3, tmp_path / "whole.pt")
    train(1, tmp_path / "parts.pt")
    parts = train(3, tmp_path / "parts.pt")
    assert capsys.readouterr().out.count("perplexity") == 3 + 1 + 2
    assert whole.vq.quantizer.step == 3 * STEPS
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "library"), [("lightning_module", "lightning"), ("hf_trainer", "transformers")]
)
def test_a_loop_of_a_library_updates_the_codes_and_resumes(loop, name, library, tmp_path, capsys):
    pytest.importorskip(library, reason=f"{library} is not installed")
    train = loop(name).train
    for epochs in (1, 2):
        trained = train(epochs, tmp_path / "run")
        layer = next(each for each in _modules(trained) if hasattr(each, "vq")).vq
        assert layer.quantizer.step == epochs * STEPS
        assert layer.quantizer.started


def _modules(trained):
    return (trained if isinstance(trained, torch.nn.Module) else trained.model).modules()
