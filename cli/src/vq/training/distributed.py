"""Several processes that train one model: how they start, exchange gradients and agree."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import Tensor, nn

from vq.device import own_device
from vq.processes.gradients import averaged
from vq.processes.peers import announced_wait, patience
from vq.training.training_pass import TrainingOutput
from vqcore.errors import SettingError, UsageError

T = TypeVar("T")
#: Variables that ``accelerate launch`` sets for sharded training, and why none is supported.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP shards parameters, but replacing dead codes needs whole codebooks",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed runs the optimizer before dead codes can be replaced",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron splits the layers of transformers only",
}


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Join the other processes, if a launcher started several, and choose a device.

    Raises:
        SettingError: for a device that does not exist, more processes than GPUs, or fp16 on a CPU.
        UsageError: if the launcher asks for sharded training.
    """
    for name, reason in SHARDING.items():
        if os.environ.get(name, "").lower() in ("1", "true"):
            fix = "launch with plain data parallelism (accelerate launch --multi_gpu)"
            raise UsageError(f"{name}: {reason}; {fix}")
    chosen = own_device(device)
    if precision == "fp16" and chosen.type == "cpu":  # Accelerate would train in float32
        raise SettingError("precision", precision, "no or bf16 on a CPU")
    mixed = precision if precision in ("bf16", "fp16") else "no"
    # the state of an earlier run in this process would refuse another precision
    AcceleratorState._reset_state(True)
    if chosen.index is not None:  # of a CPU and of "cuda" there is only the current one
        torch.cuda.set_device(chosen)
    # without a plugin, an environment variable of the launcher divides the loss
    accumulation = GradientAccumulationPlugin(num_steps=1)
    timeout = InitProcessGroupKwargs(timeout=patience())
    with announced_wait():
        return Accelerator(
            cpu=chosen.type == "cpu",
            mixed_precision=mixed,
            gradient_accumulation_plugin=accumulation,
            kwargs_handlers=[timeout],
        )


class _WithEveryParameter(nn.Module):
    """A pass whose loss depends on every parameter, if only with a gradient of 0.

    DDP exchanges gradients in a fixed order. A regularizer that acts on every tenth step only, or
    a layer that a backbone never uses, would leave parameters without a gradient.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arguments: Any, **further: Any) -> TrainingOutput:
        """See ``TrainingPass.forward``."""
        out: TrainingOutput = self.network(*arguments, **further)
        trainable = [each for each in self.network.parameters() if each.requires_grad]
        return replace(out, loss=_Holding.apply(out.loss, *trainable))


class _Holding(torch.autograd.Function):
    """The loss unchanged; adds parameters to its graph with a gradient of 0, whatever they hold."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient, *map(torch.zeros_like, ctx.saved_tensors)


def data_parallel(network: nn.Module, accelerator: Accelerator) -> nn.Module:
    """A training pass, with its gradients averaged over the processes where there are several.

    Buffers are not exchanged: ``update`` keeps those of codebooks equal.

    Raises:
        SettingError: for fp16 where nothing has a gradient that could be scaled.
    """
    trainable = any(parameter.requires_grad for parameter in network.parameters())
    if accelerator.scaler is not None and not trainable:
        expected = "no or bf16, for no parameter of this model has a gradient"
        raise SettingError("precision", "fp16", expected)
    if accelerator.num_processes == 1 or not trainable:
        return network
    return averaged(_WithEveryParameter(network), accelerator.device)
