"""What each process settles by itself before it joins the others, and what they agree on."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vq.training import distributed
from vqcore.errors import SettingError


def test_a_launcher_does_not_divide_the_loss(monkeypatch):
    """Accelerate would, by a number in the environment, but gradients are accumulated here."""
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


@pytest.mark.parametrize(("rank", "local", "printed"), [(0, 0, True), (8, 0, True), (9, 1, False)])
def test_an_error_is_printed_once_on_each_machine(vq, monkeypatch, rank, local, printed):
    """A machine may lack the data that the main process finds on its own."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(local))
    result = vq("train", "--print-config", "--dim", 0)
    assert result.code == 2
    assert ("dim = 0: expected" in result.err) == printed
    assert ("process 8: " in result.err) == (rank == 8)
