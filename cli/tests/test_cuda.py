"""Training on a GPU: its precision, without a host sync, compiled and as CUDA graphs."""

from pathlib import Path

import pytest
import torch
from torch.backends import cuda

from vq.float32 import float32_products
from vq.training.trainer import Trainer
from vqcore.search import affine
from vqcore.search import cuda as cuda_search

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CRITIC = (
    "--plugin-file", Path(__file__).with_name("critic.py"), "--set", "losses.critic.adaptive=true",
)  # fmt: skip
STEPS = ("--device", "cuda", "--batch-size", 256, "--max-steps", 24, "--set", "log_every=8")


def losses(run):
    return [line["loss"] for line in run.metrics]


def test_float32_is_float32_and_tf32_is_not():
    torch.manual_seed(0)
    network, x = torch.nn.Conv2d(64, 64, 3).cuda(), torch.randn(8, 64, 32, 32, device="cuda")
    with torch.no_grad():
        exact = torch.nn.functional.conv2d(
            x.double(), network.weight.double(), network.bias.double()
        )
        errors = {}
        for precision in ("no", "tf32"):
            with float32_products(x.device, precision):
                errors[precision] = float((network(x) - exact).abs().max())
    assert errors["no"] < 2e-5 < errors["tf32"]


def test_the_search_in_tiles_is_exact_whatever_products_are(monkeypatch):
    monkeypatch.setattr(cuda_search, "_fused_runs", lambda *_: False)
    torch.manual_seed(0)
    x, codes = torch.randn(4096, 64, device="cuda"), torch.randn(512, 64, device="cuda")
    nearest = torch.cdist(x.double(), codes.double()).argmin(1)
    with float32_products(x.device, "tf32"):
        found = affine.search(x, -2 * codes, codes.square().sum(1))
        assert cuda.matmul.fp32_precision == "tf32"
    assert torch.equal(found, nearest)


@pytest.mark.parametrize(
    "choices",
    [
        ("--quantizer", "ema"),
        ("--quantizer", "residual", "--manifold", "poincare", "--backbone", "hierarchical"),
        ("--bottleneck", "gaussian", "--backbone", "mlp"),
        ("--dataset.flip", "true", "--dataset.shift", "1", "--precision", "bf16"),
        ("--loss", "ssim", "--loss", "critic", *CRITIC, "--precision", "bf16"),
    ],
    ids=lambda choices: " ".join(map(str, choices)),
)
def test_no_step_waits_for_the_device(train, monkeypatch, choices):
    step = Trainer.train_step

    def strict(run, parts):
        first = run.step < 2  # the first step starts the codes
        torch.cuda.set_sync_debug_mode("default" if first else "error")
        try:
            return step(run, parts)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "train_step", strict)
    assert len(losses(train(*choices, *STEPS))) == 3


def test_the_gpu_trains_as_the_cpu_does(train):
    gpu = train(*STEPS, run="gpu")
    cpu = train(*STEPS, "--device", "cpu", run="cpu")
    assert losses(gpu) == pytest.approx(losses(cpu), rel=0.02)


@pytest.mark.parametrize("quantizer", ["ema", "codebook"])
@pytest.mark.parametrize("graph", ["false", "true"])
def test_compiled_steps_train_as_others_do(train, quantizer, graph):
    choices = (*STEPS, "--quantizer", quantizer, "--precision", "bf16", "--set", "accumulate=2")
    plain = train(*choices, run="plain")
    options = ("--compile", "--set", f"cuda_graph={graph}")
    compiled = train(*choices, *options, run="compiled")
    assert losses(compiled) == pytest.approx(losses(plain), rel=0.03)
    assert "it runs as usual" not in compiled.result.out + compiled.result.err
