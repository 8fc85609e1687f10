"""Baselines, patches and hierarchical models train, resume to the bit, and are evaluated."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vq.runs.trained_run import load_run
from vq_report.plots.codebook import save_codebook
from vqcore.data.tensor_split import TensorSplit

MODELS = {
    "autoencoder": ("--bottleneck", "none", "--backbone.hidden", 8),
    "poincare-vae": ("--bottleneck", "gaussian", "--manifold", "poincare", "--backbone.hidden", 8),
    "classical": ("--backbone", "patches", "--quantizer", "ema"),
    "hierarchical": (
        "--backbone",
        "hierarchical",
        "--backbone.hidden",
        8,
        "--regularizer",
        "homology",
    ),
    "tokens": (
        *("--backbone", "vit", "--backbone.tokens", 5, "--backbone.width", 16),
        *("--backbone.depth", 1, "--backbone.checkpointing", "true", "--quantizer", "residual"),
    ),
    "hierarchical-vae": (
        "--backbone",
        "hierarchical",
        "--backbone.hidden",
        8,
        "--bottleneck",
        "gaussian",
    ),
}
SHORT = (
    "--codebook-size",
    16,
    "--set",
    "schedule=constant",
    "--set",
    "log_every=2",
    "--batch-size",
    512,
)


@pytest.fixture(params=MODELS)
def parts(request, vq, without_plots, monkeypatch, tmp_path):
    """The folders of a run, and of the same run that was stopped and resumed."""
    monkeypatch.setattr("vq_homology.plots.save", lambda *_: None)
    for name, steps in (("whole", 5), ("parts", 3)):
        given = (*MODELS[request.param], *SHORT, "--max-steps", steps, "--run-dir", tmp_path / name)
        result = vq("train", *given)
        assert result.code == 0, result
    result = vq("train", "--resume", tmp_path / "parts", "--max-steps", 5)
    assert result.code == 0, result
    return tmp_path / "whole", tmp_path / "parts"


def test_a_resumed_run_equals_an_uninterrupted_one(vq, parts, tmp_path):
    whole, other = (
        load_file(path / "checkpoints" / "step-00000005" / "model.safetensors") for path in parts
    )
    assert whole.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in whole.items())
    run = load_run(parts[1])
    metrics = vq("evaluate", parts[1], "--json")
    assert metrics.code == 0, metrics
    assert ('"perplexity"' in metrics.out) == run.model.has_codes
    x = torch.rand(40, 1, 8, 8) * 2 - 1
    save_codebook(tmp_path / "codebook.png", run.model, TensorSplit(x), run.device)
    assert (tmp_path / "codebook.png").stat().st_size > 1000
    if run.model.has_codes:
        assert torch.equal(run.model.decode(run.model.encode(x)), run.model(x).reconstruction)


def test_classical_vector_quantization_is_lloyds_algorithm(vq, without_plots, tmp_path):
    """With full batches and decay 0, each step moves a code to the mean of its blocks."""
    settings = (
        "--quantizer.decay",
        0,
        "--quantizer.dead_code_threshold",
        0,
        "--quantizer.epsilon",
        1e-9,
    )
    given = (*MODELS["classical"], *SHORT, *settings, "--batch-size", 5000, "--codebook-size", 4)
    errors = {}
    for steps in (1, 2, 8):
        assert (
            vq("train", *given, "--max-steps", steps, "--run-dir", tmp_path / str(steps)).code == 0
        )
        run = load_run(tmp_path / str(steps))
        split = run.source.split("train")
        (x,) = split.batches([torch.arange(len(split))], run.device)
        codes, blocks = (
            run.model.bottleneck.codebook,
            run.model.backbone.encode(x).movedim(1, -1).flatten(0, -2),
        )
        if steps == 1:
            before = codes
        chosen = torch.cdist(blocks, codes).argmin(1)
        errors[steps] = (blocks - codes[chosen]).square().mean().item()
        if steps == 2:
            home = torch.cdist(blocks, before).argmin(1)
            means = torch.stack([blocks[home == k].mean(0) for k in range(4)])
            assert torch.allclose(codes, means, atol=1e-4)
    assert errors[1] > errors[2] > errors[8]
    assert not list(run.model.parameters())


def test_the_documented_backbone_is_a_component(vq, without_plots, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (code,) = (block for block in blocks if "vq_backbones" in block)
    (tmp_path / "rows.py").write_text(code, encoding="utf-8")
    given = (
        "--plugin-file",
        tmp_path / "rows.py",
        "--backbone",
        "rows",
        "--manifold",
        "poincare",
        *SHORT,
    )
    result = vq(
        "train", *given, "--backbone.hidden", 8, "--max-steps", 2, "--run-dir", tmp_path / "run"
    )
    assert result.code == 0, result
    run = load_run(tmp_path / "run")
    assert run.model.index_shape == (8,)
    shown = vq("show", "backbone", "rows", "--plugin-file", tmp_path / "rows.py")
    assert "Units between a row and its latent." in " ".join(shown.out.split())
