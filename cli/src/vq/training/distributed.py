"""Several processes that train one model: how they start, agree, and speak with one voice."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vq.device import choose_device
from vq.models.autoencoder import ModelOutput, VQModel
from vqcore.errors import SettingError, UsageError

T = TypeVar("T")
#: What Accelerate reads from the environment that ``accelerate launch`` sets, and why none of it is supported.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP shards parameters, but codes are replaced and pictures drawn from whole ones",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed steps the optimizer itself, before dead codes can be replaced",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron splits layers of models that these are not",
}
#: How long a process waits for another: the first may download a data set, or look through a million pictures.
PATIENCE = timedelta(hours=6)


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Join the other processes, if a launcher started several, and choose this one's device.

    Raises:
        SettingError: for a device that is not there, more processes than GPUs, or fp16 on a CPU.
        UsageError: if the launcher asks for sharded training.
    """
    for name, reason in SHARDING.items():
        if os.environ.get(name, "").lower() in ("1", "true"):
            raise UsageError(
                f"{name}: {reason}; launch with plain data parallelism (accelerate launch --multi_gpu)"
            )
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    chosen = choose_device(device)
    if several and chosen.index is not None:
        raise SettingError(
            "device", device, "auto, cpu or cuda: each of several processes takes a GPU of its own"
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if chosen.type == "cuda" and here > torch.cuda.device_count():
        raise SettingError(
            "device",
            device,
            f"a GPU for each of {here} processes, found {torch.cuda.device_count()}",
        )
    if precision == "fp16" and chosen.type == "cpu":
        raise SettingError(
            "precision", precision, "no or bf16 on a CPU"
        )  # Accelerate would train in float32
    AcceleratorState._reset_state(
        True
    )  # it outlives a run, and would refuse another precision in this process
    if chosen.type == "cuda" and not several:
        torch.cuda.set_device(chosen)
    return Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=1
        ),  # ours: or a variable divides the loss
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


class _WithEveryParameter(nn.Module):
    """A model whose loss holds every parameter, were it with a gradient of 0.

    The gradients are exchanged in a fixed order, but a regularizer that acts on every tenth step, say, would leave the
    only parameter that it moves without one on the others, and a borrowed network may have layers that are not used.
    """

    def __init__(self, model: VQModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> ModelOutput:
        """See ``VQModel.forward``."""
        out = self.model(x)
        return replace(
            out,
            loss=_Holding.apply(out.loss, *(p for p in self.model.parameters() if p.requires_grad)),
        )


class _Holding(torch.autograd.Function):
    """A loss as it is, in whose graph further parameters are: their gradient from here is 0, whatever they hold."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return gradient, *map(torch.zeros_like, ctx.saved_tensors)


def data_parallel(model: VQModel, accelerator: Accelerator) -> nn.Module:
    """The model, its gradients averaged over the processes where there are several.

    Buffers stay each process's own: those of codebooks are kept equal by ``update``.

    Raises:
        SettingError: for fp16 where nothing has a gradient that could be scaled.
    """
    trainable = any(parameter.requires_grad for parameter in model.parameters())
    if accelerator.scaler is not None and not trainable:
        raise SettingError(
            "precision", "fp16", "no or bf16, for nothing in this model is learned by gradient"
        )
    if accelerator.num_processes == 1 or not trainable:
        return model
    devices = [accelerator.device] if accelerator.device.type == "cuda" else None
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "`broadcast_buffers` is deprecated", FutureWarning
        )  # no other before 2.13
        return DistributedDataParallel(_WithEveryParameter(model), devices, broadcast_buffers=False)


def unsynchronised(model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Inside, backward passes add up gradients in this process alone."""
    return (
        model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()
    )


def run_on_main(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """What the first process's ``action`` gives, on every process; the others do not call it.

    Raises:
        Exception: in the first process, what it raised; the others exit with its code, silently.
    """
    if accelerator.num_processes == 1:
        return action()
    answer, failure = [None, None], None
    if accelerator.is_main_process:
        try:
            answer[0] = action()
        except Exception as error:  # the others would wait for ever
            answer[1], failure = getattr(error, "exit_code", 1), error
    dist.broadcast_object_list(answer, 0)
    if answer[1] is not None:
        raise failure or SystemExit(answer[1])
    return answer[0]


def all_gather(accelerator: Accelerator, value: T) -> list[T]:
    """The value of each process, in their order, on every process."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] = [None] * accelerator.num_processes
    dist.all_gather_object(values, value)
    return values


class StopVote:
    """Which signal any process was sent: all learn of it in the same step, and no device is waited for.

    Votes go over the CPU and are counted a few steps after they were cast, so that they cost no round trip either.

    Args:
        accelerator: of the run.
    """

    LAG = 2

    def __init__(self, accelerator: Accelerator) -> None:
        several = accelerator.num_processes > 1
        self._group = dist.new_group(backend="gloo") if several else None
        self._cast: deque[tuple[dist.Work, Tensor]] = deque()

    def __call__(self, signal: int) -> int:
        """Cast this step's vote, 0 for going on; the outcome of the one ``LAG`` steps ago, 0 if all would go on."""
        if self._group is None:
            return signal
        vote = torch.tensor(signal)
        self._cast.append(
            (dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._group, async_op=True), vote)
        )
        return self._count() if len(self._cast) > self.LAG else 0

    def close(self) -> None:
        """Wait for the votes still under way."""
        while self._cast:
            self._count()

    def _count(self) -> int:
        work, vote = self._cast.popleft()
        work.wait()
        return int(vote)
