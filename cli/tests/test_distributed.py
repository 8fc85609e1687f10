"""What each process settles by itself before it joins the others, and what they agree on."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vq.training import distributed
from vq.training.metric_accumulator import MetricAccumulator
from vqcore.errors import SettingError


def test_a_launcher_does_not_divide_the_loss(monkeypatch):
    """Accelerate would, by a number it finds in the environment, and gradients are added up here already."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert distributed.make_accelerator("cpu", "no").gradient_accumulation_steps == 1


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        SettingError, match=r"device = 'auto': expected a GPU for each of 2 processes, found 1"
    ):
        distributed.make_accelerator("auto", "no")


def test_half_precision_needs_a_gradient_to_scale():
    accelerator = SimpleNamespace(scaler=object(), num_processes=1)
    with pytest.raises(SettingError, match="precision = 'fp16': expected no or bf16"):
        distributed.data_parallel(nn.Identity(), accelerator)
    assert distributed.data_parallel(layer := nn.Linear(1, 1), accelerator) is layer


def test_a_model_without_gradients_is_watched_on_its_own_device():
    """The norm of no gradients is a number on the CPU, wherever the losses are."""
    window, loss = MetricAccumulator(), torch.zeros((), device="meta")
    window.add(SimpleNamespace(loss=loss, losses={}, bottleneck=SimpleNamespace(counts=())))
    window.end_step(1, 8, nn.utils.clip_grad_norm_([], math.inf))
    assert window.norms.device == window.first_bad.device == loss.device


@pytest.mark.parametrize(("rank", "local", "told"), [(0, 0, True), (8, 0, True), (9, 1, False)])
def test_a_mistake_is_told_once_on_each_machine(vq, monkeypatch, rank, local, told):
    """One machine may lack the data that the first process's has."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(local))
    result = vq("train", "--print-config", "--dim", 0)
    assert result.code == 2
    assert ("dim = 0: expected" in result.err) == told
    assert ("process 8: " in result.err) == (rank == 8)
