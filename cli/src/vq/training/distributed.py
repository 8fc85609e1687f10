"""Several processes that train one model: how they start, exchange gradients and agree."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vq.device import choose_device
from vq.models.autoencoder import ModelOutput
from vq.training.peers import announced_wait, patience, several
from vqcore.errors import MainProcessError, SettingError, UsageError

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
    chosen = choose_device(device)
    if several() and chosen.index is not None:
        expected = "auto, cpu or cuda: each of several processes uses its own GPU"
        raise SettingError("device", device, expected)
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count()
    if chosen.type == "cuda" and on_this_machine > gpus:
        expected = f"a GPU for each of {on_this_machine} processes, found {gpus}"
        raise SettingError("device", device, expected)
    if precision == "fp16" and chosen.type == "cpu":  # Accelerate would train in float32
        raise SettingError("precision", precision, "no or bf16 on a CPU")
    mixed = "no" if precision == "tf32" else precision  # that is no mixed precision
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
    """A model whose loss depends on every parameter, if only with a gradient of 0.

    DDP exchanges gradients in a fixed order. A regularizer that acts on every tenth step only, or
    a layer that a backbone never uses, would leave parameters without a gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> ModelOutput:
        """See ``VQModel.forward``."""
        out: ModelOutput = self.model(x)
        trainable = [each for each in self.model.parameters() if each.requires_grad]
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


def data_parallel(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The model, with its gradients averaged over the processes where there are several.

    Buffers are not exchanged: ``update`` keeps those of codebooks equal.

    Raises:
        SettingError: for fp16 where nothing has a gradient that could be scaled.
    """
    trainable = any(parameter.requires_grad for parameter in model.parameters())
    if accelerator.scaler is not None and not trainable:
        expected = "no or bf16, for no parameter of this model has a gradient"
        raise SettingError("precision", "fp16", expected)
    if accelerator.num_processes == 1 or not trainable:
        return model
    devices = [accelerator.device] if accelerator.device.type == "cuda" else None
    with warnings.catch_warnings():
        # its successor came with torch 2.13
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(_WithEveryParameter(model), devices, broadcast_buffers=False)


def unsynchronised(model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Inside, backward passes accumulate gradients in this process alone."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()


def run_on_main(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """The result of ``action`` on every process; only the main process calls it.

    Raises:
        Exception: on the main process, what ``action`` raised.
        MainProcessError: on the others, which would otherwise wait forever.
    """
    if accelerator.num_processes == 1:
        return action()
    answer: list[Any] = [None, None]
    failure: Exception | None = None
    if accelerator.is_main_process:
        try:
            answer[0] = action()
        except Exception as error:
            failure = error
            answer[1] = MainProcessError.of(error)
    dist.broadcast_object_list(answer, 0)
    if answer[1] is not None:
        raise failure or answer[1]
    return answer[0]


class StopVote:
    """Lets every process stop in the same step when any of them receives a signal.

    Votes are exchanged on the CPU and counted a few steps after they were cast, so that a step
    waits neither for the device nor for the network.
    """

    LAG = 2

    def __init__(self, accelerator: Accelerator) -> None:
        several = accelerator.num_processes > 1
        self._group: Any = dist.new_group(backend="gloo") if several else None
        self._cast: deque[tuple[Any, Tensor]] = deque()

    def __call__(self, signal: int) -> int:
        """Cast this step's vote, and count the one of ``LAG`` steps ago.

        A vote is the number of the signal that a process received, 0 for none. The largest one
        that was cast is returned; 0 continues the run.
        """
        if self._group is None:
            return signal
        vote = torch.tensor(signal)
        work = dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._cast.append((work, vote))
        return self._count() if len(self._cast) > self.LAG else 0

    def close(self) -> None:
        """Wait for the votes that are not counted yet."""
        while self._cast:
            self._count()

    def _count(self) -> int:
        work, vote = self._cast.popleft()
        work.wait()
        return int(vote)
