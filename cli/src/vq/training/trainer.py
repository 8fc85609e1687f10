"""The model, its optimizer and one training step, as docs/design.md states it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vq.config.resolved_config import ResolvedConfig
from vq.models.autoencoder import ModelOutput, build_model, channels_last, place
from vq.runs.folder import RunFolder
from vq.training.batches import BatchSampler, MicroBatch
from vq.training.compiled import compiled, compiling
from vq.training.distributed import data_parallel, unsynchronised
from vq.training.metric_accumulator import ForwardValues, MetricAccumulator, StepValues
from vq.training.open_data import open_data
from vq.training.recorded_step import RecordedStep, why_not_recorded
from vq.training.schedule import eased, easing_steps, rate_factor
from vqcore.numerics import counter_rng
from vqcore.plugin.registry import Registry


class Trainer:
    """A run in training: what callbacks and life-cycle hooks receive as ``run``.

    Building it opens the data set and constructs the model, so that a mistake is reported before
    a folder exists. Where several processes train one model, each has a trainer.

    Args:
        config: the resolved config.
        registry: where the components come from.
        accelerator: this process's device, precision and rank.
        recorded: the metadata of the data set that data.json holds, for a resumed run.

    Attributes:
        config, settings: the config, and its plain settings.
        source, train_split, test_split: the data set.
        model: the model in training, on ``device``.
        folder: the run folder, set before the first step.
        step: steps done.
        seconds: time spent in the training loop, earlier parts of a resumed run included.
        stop_signal: the signal that ends the run after this step, else 0.
        batch: the samples of the last step's first micro-batch, without augmentation.
        accumulator: the running means of the steps since the last log line.
    """

    folder: RunFolder
    batch: Tensor

    def __init__(
        self,
        config: ResolvedConfig,
        registry: Registry,
        accelerator: Accelerator,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.settings = settings = config.settings
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        data = open_data(config, registry, accelerator, recorded or {})
        self.source, self.train_split, self.test_split = data
        self.sampler = BatchSampler(len(self.train_split), settings.batch_size, settings.seed)
        self.model = place(build_model(config, registry, self.source), self.device)
        network = compiled(self.model) if settings.compile else self.model
        self._parallel = data_parallel(network, accelerator)
        # an optimizer refuses an empty list
        parameters = list(self.model.parameters()) or [nn.Parameter(torch.zeros(0))]
        self.optimizer = registry.build(config.components["optimizer"], params=parameters)
        self.step = 0
        self.seconds = 0.0
        self.stop_signal = 0
        self._rate_change: tuple[float, float, int] | None = None
        self.accumulator = MetricAccumulator(self.device, scaled=accelerator.scaler is not None)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._unrecorded = why_not_recorded(
            self.device, accelerator.num_processes, settings.precision, self.optimizer
        )
        self._recorded: RecordedStep | None = None
        if settings.cuda_graph and not self._unrecorded:
            self._recorded = RecordedStep(self._compute, self.model.bottleneck, self.optimizer)
        self.set_learning_rate()
        # up to here all processes draw the same numbers, from here on each draws its own
        torch.manual_seed(settings.seed + accelerator.process_index)

    @property
    def main(self) -> bool:
        """Whether this is the main process, the one that writes and logs."""
        return self.accelerator.is_main_process

    @property
    def total_steps(self) -> int:
        """Steps of the whole run: those of ``epochs`` or ``max_steps``, the fewer of both."""
        epochs, steps = self.settings.epochs, self.settings.max_steps
        of_epochs = math.inf if epochs is None else epochs * self.sampler.steps_per_epoch
        return int(min(of_epochs, math.inf if steps is None else steps))

    def is_due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return self.step % every == 0 or self.step == self.total_steps

    def set_learning_rate(self) -> None:
        """Set the learning rate of the next step."""
        factor = rate_factor(self.step, self.total_steps, self.settings)
        for group in self.optimizer.param_groups:
            rate = group.setdefault("initial_lr", group["lr"]) * factor
            group["lr"] = eased(rate, self.step, group.get("easing"))

    def resume_learning_rate(self) -> None:
        """Set the learning rate of the first step after a checkpoint.

        Where the schedule, or the length that it spans, is another one than before, the rate
        approaches it over a few steps. The optimizer's groups keep from where, so that the run can
        be resumed in between.
        """
        groups = self.optimizer.param_groups
        before = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["initial_lr"] = rate
        self.set_learning_rate()
        steps = easing_steps(self.total_steps - self.step)
        for group, rate in zip(groups, before, strict=True):
            if group["lr"] != rate:
                group["easing"] = {"rate": rate, "step": self.step, "steps": steps}
        if steps and groups[0]["lr"] != before[0]:
            self._rate_change = (before[0], groups[0]["lr"], steps)
        self.set_learning_rate()

    def notices(self) -> Iterator[str]:
        """What a user should know before the first step of the length and the learning rate."""
        settings = self.settings
        if settings.max_steps is not None and self.total_steps < settings.max_steps:
            yield (
                f"epochs = {settings.epochs} ends the run at step {self.total_steps}, before "
                f"max_steps = {settings.max_steps}; leave one of them out"
            )
        if settings.precision == "tf32" and self.device.type == "cpu":
            yield "precision = tf32 acts on a GPU alone: this run is in float32"
        if settings.compile:
            yield "compile = true: the second step waits for the compiler, up to a minute"
        if settings.cuda_graph and self._unrecorded:
            yield f"cuda_graph = true has no effect here: {self._unrecorded}"
        if self._rate_change is not None:
            before, now, steps = self._rate_change
            yield (
                f"the learning rate goes from {before:.3g} to {now:.3g}, its value here in a run "
                f"of {self.total_steps} steps (schedule {settings.schedule}), "
                f"{'in one step' if steps == 1 else f'over {steps} steps'}; "
                "--set schedule=... and --lr choose another"
            )

    def batches(self) -> Iterator[list[tuple[MicroBatch, Tensor]]]:
        """This process's micro-batches of each step with their samples, from the next step on."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        while True:
            steps = list(self.sampler.epoch(self.step, rank, world, self.settings.accumulate))
            chosen = [part.samples for parts in steps for part in parts]
            samples = self.train_split.batches(chosen, self.device)
            for parts in steps:
                yield [(part, next(samples)) for part in parts]

    def train_step(self, parts: list[tuple[MicroBatch, Tensor]]) -> dict[str, Tensor]:
        """One step of the optimizer; returns this process's loss terms, detached."""
        if not self.model.training:
            self.model.train()
        self.batch = parts[0][1]
        key = counter_rng.key_of(self.settings.seed, self.step)
        samples = [self.source.augment(each, key, part.positions) for part, each in parts]
        shares = [part.share for part, _ in parts]
        compute = self._recorded if self._recorded and self._whole else self._compute
        values = compute(samples, shares)
        self.step += 1
        self.set_learning_rate()
        return self.accumulator.add(values, shares, self.step, self.sampler.size(self.step - 1))

    def _compute(self, samples: Sequence[Tensor], shares: Sequence[float]) -> StepValues:
        """Forward and backward passes, the optimizer's step and that of the codes."""
        forwards = []
        with self._compiling():
            for number, (batch, share) in enumerate(zip(samples, shares, strict=True), 1):
                last = number == len(samples)
                with contextlib.nullcontext() if last else unsynchronised(self._parallel):
                    forwards.append(self._forward_backward(batch, share))
        norm = self._optimize()
        self.model.bottleneck.update(self.optimizer)
        return StepValues(tuple(forwards), norm)

    @property
    def _whole(self) -> bool:
        """Whether the next step's batch is a whole one, as all but the last of an epoch."""
        return self.sampler.size(self.step) == self.sampler.size(0)

    def _compiling(self) -> contextlib.AbstractContextManager[None]:
        """Compile steps of whole batches, from the second on: the first one starts the codes."""
        if not self.settings.compile:
            return contextlib.nullcontext()
        return compiling(now=self._whole and self.step > 0)

    def _forward_backward(self, batch: Tensor, share: float) -> ForwardValues:
        with self.accelerator.autocast():
            out: ModelOutput = self._parallel(channels_last(batch))
        # without a network, and with codes that are moving averages, nothing has a gradient
        if out.loss.requires_grad:
            # gradients are averaged over the processes, and this share is of the whole batch
            loss = _times(out.loss, share * self.accelerator.num_processes)
            scaler = self.accelerator.scaler
            (loss if scaler is None else scaler.scale(loss)).backward()
        return ForwardValues.of(out)

    def _optimize(self) -> Tensor:
        """Clip the gradients and apply them; returns their norm before clipping.

        Accelerate's own methods do the same, at several times the cost on the host.
        """
        scaler, clip = self.accelerator.scaler, self.settings.grad_clip
        groups = self.optimizer.param_groups
        parameters = [each for group in groups for each in group["params"]]
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        gradients = [each.grad for each in parameters if each.grad is not None]
        # the norm of no gradients would be on the CPU
        norm = get_total_norm(gradients) if gradients else torch.zeros((), device=self.device)
        if clip:
            clip_grads_with_norm_(parameters, clip, norm)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        for parameter in parameters:
            parameter.grad = None
        return norm


def _times(value: Tensor, factor: float) -> Tensor:
    """The product, without a kernel where the factor is 1."""
    return value if factor == 1 else value * factor
