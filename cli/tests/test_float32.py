"""What float32 means on a GPU while a run lasts. The settings exist without one."""

import pytest
import torch
from torch.backends import cuda, cudnn, mkldnn

from vq.float32 import float32_products

GPU = torch.device("cuda")


def settings():
    older = (torch.get_float32_matmul_precision, lambda: cudnn.allow_tf32)
    newer = (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul)
    return [read() for read in older], [each.fp32_precision for each in newer]


@pytest.fixture
def defaults():
    with float32_products(GPU, "no"):  # restores what a test leaves behind
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32 = True
        yield


@pytest.mark.parametrize(("precision", "newer"), [("no", "ieee"), ("bf16", "ieee"), ("tf32",) * 2])
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_products_are_what_was_asked_for_and_then_what_they_were(
    defaults, before, precision, newer
):
    torch.set_float32_matmul_precision(before)
    kept = settings()
    with float32_products(GPU, precision):
        assert (cuda.matmul.fp32_precision, cudnn.conv.fp32_precision) == (newer, newer)
        assert (cuda.matmul.allow_tf32, cudnn.allow_tf32) == (newer == "tf32",) * 2
    assert settings() == kept


def test_newer_settings_of_a_caller_come_back(defaults):
    cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = "tf32"
    with float32_products(GPU, "no"):
        assert not cuda.matmul.allow_tf32
    assert (cuda.matmul.fp32_precision, cudnn.conv.fp32_precision) == ("tf32", "tf32")


def test_nothing_changes_on_a_cpu(defaults):
    kept = settings()
    with float32_products(torch.device("cpu"), "tf32"):
        assert settings() == kept


def test_a_run_says_that_tf32_needs_a_gpu(train):
    run = train("--precision", "tf32", "--device", "cpu")
    assert "precision = tf32 acts on a GPU alone: this run is in float32" in run.result.out
    assert "precision: tf32" in (run.path / "config.yaml").read_text()
