"""A training step recorded once as a CUDA graph and replayed: one launch instead of hundreds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vq.progress import working
from vq.training.log_file import LOG
from vq.training.metric_accumulator import StepValues
from vqcore.numerics.step_counter import by_phase

#: Steps done as usual first: they start the codes, tune kernels and create optimizer states.
WARM_STEPS = 3
#: Kinds of steps of which graphs are kept; steps of any more run as usual.
MOST_GRAPHS = 8

#: The step, of the tensors of its micro-batches (samples, then labels) and their shares of it.
Compute = Callable[[Sequence[Tensor], Sequence[float]], StepValues]


class RecordedStep:
    """A step that the device repeats by itself, for batches of one shape.

    What the host decides while it is recorded stays as it was then, as the settings of components
    do. Learning rates are read anew each time, and a step of other tensors is recorded anew, as
    after a callback that freezes or resizes a codebook.

    Args:
        compute: the step as it is done without a graph: all changes to the model and the optimizer.
        bottleneck: of the model; it says whether a graph can hold it.
        objective: the losses; likewise.
        optimizer: whose learning rates change from step to step.
    """

    def __init__(
        self, compute: Compute, bottleneck: Any, objective: Any, optimizer: torch.optim.Optimizer
    ) -> None:
        self._compute, self._optimizer = compute, optimizer
        self._bottleneck, self._objective = bottleneck, objective
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, StepValues]] = {}
        self._seen: Counter[Hashable] = Counter()
        self._inputs: list[Tensor] = []
        self._given_up = False

    def __call__(self, tensors: Sequence[Tensor], shares: Sequence[float]) -> StepValues:
        """Do a step with a batch of the recorded shape."""
        kind = self._bottleneck.phase, self._objective.phase, self._tensors()
        if kind not in self._graphs and self._ready(kind):
            self._record(kind, tensors, shares)
        self._seen[kind] += 1
        if kind not in self._graphs:
            return self._compute(tensors, shares)
        graph, values = self._graphs[kind]
        torch._foreach_copy_(self._inputs, list(tensors))
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        graph.replay()
        self._bottleneck.replayed()
        self._objective.replayed()
        return values.copy()

    def _tensors(self) -> tuple[tuple[int, bool], ...]:
        """Where the tensors lie that a step changes, and whether they have gradients."""
        trained = (each for group in self._optimizer.param_groups for each in group["params"])
        tensors = (*trained, *self._bottleneck.buffers())
        return tuple((each.data_ptr(), each.requires_grad) for each in tensors)

    def _ready(self, kind: Hashable) -> bool:
        """Whether to record a step of this kind now; says once what prevents it."""
        if self._given_up or self._seen.total() < WARM_STEPS or not self._seen[kind]:
            return False
        components = (*self._bottleneck.unrecordable, *self._objective.unrecordable)
        names = [*components, *_counting_on_host(self._optimizer)]
        if names:
            LOG.info("cuda_graph: steps run one by one, because of %s", " and ".join(names))
            self._given_up = True
        return not names and len(self._graphs) < MOST_GRAPHS

    def _record(self, kind: Hashable, tensors: Sequence[Tensor], shares: Sequence[float]) -> None:
        """Record the step, or say why not; then every step is done as usual."""
        if not self._graphs:
            self._inputs = [torch.empty_like(each) for each in tensors]
            groups = self._optimizer.param_groups
            self._rates = [torch.empty((), device=tensors[0].device) for _ in groups]
            self._pool = torch.cuda.graph_pool_handle()  # one step at a time uses the memory
        graph = torch.cuda.CUDAGraph()
        mode = "thread_local"  # other threads, those that read data, may use the device meanwhile
        try:
            with (
                working("recording the step"),
                by_phase(),
                _capturable(self._optimizer, self._rates),
                torch.cuda.graph(graph, pool=self._pool, capture_error_mode=mode),
            ):
                values = self._compute(self._inputs, shares)
        except Exception as error:  # optimizers and components refuse with errors of any kind
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            LOG.warning("cuda_graph: a step cannot be recorded, it runs as usual: %s", reason)
            self._given_up = True
            self._graphs.clear()
            # codes that are loaded drop statistics, here those of a step that never ran
            self._bottleneck.load_state_dict(self._bottleneck.state_dict())
            self._optimizer.zero_grad()
        else:
            self._graphs[kind] = graph, values


def why_not_recorded(
    device: torch.device,
    processes: int,
    precision: str,
    optimizer: torch.optim.Optimizer,
    trained: Sequence[str] = (),
) -> str | None:
    """Why a run's steps cannot be recorded, whatever its components, if they cannot.

    ``trained`` names its losses that are trained.
    """
    if device.type != "cuda":
        return f"the device is {device.type}"
    if processes > 1:
        return "several processes train the model"
    if precision == "fp16":
        return "fp16 decides about each step on the host; bf16 does not"
    if not all("capturable" in group for group in optimizer.param_groups):
        return f"{type(optimizer).__name__} has no option capturable"
    if trained:
        return f"{' and '.join(trained)} is trained beside the model"
    return None


def _counting_on_host(optimizer: torch.optim.Optimizer) -> list[str]:
    """The optimizer's name, if it counts steps in a way that a graph would not go on with."""
    counts = [state["step"] for state in optimizer.state.values() if "step" in state]
    return [] if all(isinstance(each, Tensor) for each in counts) else [type(optimizer).__name__]


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer, rates: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the step of the optimizer reads its learning rates from the device."""
    before = [(group["lr"], group["capturable"]) for group in optimizer.param_groups]
    for state in optimizer.state.values():  # counts of steps lie on the host
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        state.update({name: value.to(rates[0].device) for name, value in tensors.items()})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"], group["capturable"] = rate, True
    try:
        yield
    finally:
        for group, (lr, capturable) in zip(optimizer.param_groups, before, strict=True):
            group["lr"], group["capturable"] = lr, capturable
