"""Between log steps no training step reads from the device, which would wait for it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vq.training.trainer import Trainer

#: Operators whose result, or its shape, the host must know.
READING = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique",
    "is_nonzero",
    "equal",
    "item",
    "lift_fresh",  # a tensor made from Python numbers, which are copied to the device
)


class CountReads(TorchDispatchMode):
    """Counts operators that an accelerator would have to be waited for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function._schema.name.removeprefix("aten::")
        if name.lstrip("_") in {each.lstrip("_") for each in READING}:
            self.found.append(name)
        elif name in ("index", "index_put_") and any(_is_mask(each) for each in arguments[1]):
            self.found.append(f"{name} by a mask")
        return function(*arguments, **(options or {}))


def _is_mask(index):
    return index is not None and index.dtype in (torch.bool, torch.uint8)


@pytest.fixture
def reads(monkeypatch):
    """A list that gets the reads of each training step: step -> names."""
    counted = {}
    step = Trainer.train_step

    def watched(run, parts):
        with CountReads() as counter:
            losses = step(run, parts)
        counted[run.step] = counter.found
        return losses

    monkeypatch.setattr(Trainer, "train_step", watched)
    return counted


@pytest.mark.parametrize(
    "choices",
    [
        (),
        ("--quantizer", "ema", "--manifold", "poincare", "--estimator", "rotation"),
        ("--quantizer", "residual", "--regularizer", "entropy", "--set", "accumulate=2"),
        (
            "--quantizer",
            "grouped",
            "--manifold",
            "lorentz",
            "--estimator",
            "transport",
            "--regularizer",
            "smoothness",
        ),
        ("--quantizer", "fsq", "--dim", 3),
    ],
)
def test_no_training_step_reads_from_the_device(train, reads, choices):
    train(*choices, "--max-steps", 24, "--set", "log_every=100")
    assert len(reads) == 24
    assert {
        step: names for step, names in reads.items() if names and step > 1
    } == {}  # the first step starts the codes
