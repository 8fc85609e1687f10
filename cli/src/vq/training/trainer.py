"""The model, its optimizer and one training step, as docs/design.md states it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vq.config.resolved_config import ResolvedConfig
from vq.data.labels import labelled
from vq.evaluation.perceptual import perceptual_metrics
from vq.models.autoencoder import VQModel, build_model, channels_last, place
from vq.processes.gradients import unsynchronised
from vq.progress import working
from vq.runs.folder import RunFolder
from vq.training.batches import BatchSampler, MicroBatch
from vq.training.compiled import compiled, compiling
from vq.training.distributed import data_parallel
from vq.training.few_tokens import few_tokens
from vq.training.init_source import InitSource
from vq.training.initialize import Taken, build_from
from vq.training.learning_rate import LearningRate
from vq.training.metric_accumulator import ForwardValues, MetricAccumulator, StepValues
from vq.training.objective import build_objective
from vq.training.open_data import open_data
from vq.training.opponents import Opponents
from vq.training.recorded_step import RecordedStep, why_not_recorded
from vq.training.schedule import blend_steps
from vq.training.training_pass import TrainingOutput, TrainingPass
from vq.training.weight_average import WeightAverage
from vqcore.data.transfer import to_device
from vqcore.interfaces.dataset import SampleSpec, TrainingBatch
from vqcore.layer import VectorQuantizer
from vqcore.numerics import counter_rng
from vqcore.numerics.stable import times
from vqcore.plugin.registry import Registry

#: A period that no setting gives is this part of the run,
PERIODS = 50
#: and at least so many steps.
LEAST_PERIOD = 200


class Trainer:
    """A run in training: what callbacks and life-cycle hooks receive as ``run``.

    Building it opens the data set and constructs the model, so that a mistake is reported before
    a folder exists. Where several processes train one model, each has a trainer.

    Args:
        config: the resolved config.
        registry: where the components come from.
        accelerator: this process's device, precision and rank.
        recorded: the metadata of the data set that data.json holds, for a resumed run.
        initial: the weights to start from, for a run that begins with ``init_from``.

    Attributes:
        config, settings: the config, and its plain settings.
        source, train_split, test_split: the data set.
        perceptual: metrics that evaluations add.
        model: the model in training, on ``device``.
        objective, opponents: the losses, and the turn of those that are trained.
        average: the average of its weights, None without ``weight_ema``.
        taken: which weights it started from, None where all are new or those of a checkpoint.
        folder: the run folder, set before the first step.
        step: steps done.
        seconds: time spent in the training loop, earlier parts of a resumed run included.
        stop_signal: the signal that ends the run after this step, else 0.
        batch: the samples of the last step's first micro-batch, as the split served them.
        optimizer, learning_rate: what changes the parameters, and how fast.
        accumulator: the running means of the steps since the last log line.
        last_evaluation: what tells the weights that were evaluated last on all held-out samples
            from others, and their metrics.
    """

    last_evaluation: tuple[tuple[Tensor, Tensor], dict[str, Any]] | None = None
    folder: RunFolder
    batch: Tensor

    def __init__(
        self,
        config: ResolvedConfig,
        registry: Registry,
        accelerator: Accelerator,
        recorded: Mapping[str, Any] | None = None,
        initial: InitSource | None = None,
    ) -> None:
        self.config = config
        self.settings = settings = config.settings
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        data = open_data(config, registry, recorded or {})
        self.source, self.train_split, self.test_split = data
        self.sampler = BatchSampler(len(self.train_split), settings.batch_size, settings.seed)
        self.taken: Taken | None = None
        with working("building the model"):
            samples = SampleSpec.of(self.source)
            objective = build_objective(config, registry, samples, accelerator.scaler)
            self.objective = objective.to(self.device)
            self.opponents = Opponents(objective, accelerator)
            if objective.labelled:
                for split in data[1:]:
                    labelled(split, config, self.source, samples)
            samples = replace(samples, likelihood=objective.likelihood)
            if initial is None:
                model = build_model(config, registry, samples)
            else:
                model, self.taken = build_from(initial, config, registry, samples)
            self.model = place(model, self.device)
        for layer in self.model.bottleneck.modules():
            if isinstance(layer, VectorQuantizer):
                layer.blend_steps = blend_steps(self.total_steps, settings)
                layer.quantize_start = settings.quantize_start
        decay = settings.weight_ema
        self.average = WeightAverage(self.model, decay) if decay else None
        self._parallel = data_parallel(self._pass(samples), accelerator)
        # an optimizer refuses an empty list
        parameters = list(self.model.parameters()) or [nn.Parameter(torch.zeros(0))]
        with working("building the optimizer"):  # torch loads its compiler for the first one
            self.optimizer = registry.build(config.components["optimizer"], params=parameters)
        self.learning_rate = LearningRate(self.optimizer, self.total_steps, settings)
        self.learning_rate.set(0)
        self.step = 0
        self.seconds = 0.0
        self.stop_signal = 0
        self.accumulator = MetricAccumulator(self.device, scaled=accelerator.scaler is not None)
        self._unrecorded = why_not_recorded(
            self.device, accelerator.num_processes, settings.precision, self.optimizer,
            [*objective.trained],
        )  # fmt: skip
        self._recorded: RecordedStep | None = None
        self._compiled = False
        if settings.cuda_graph and not self._unrecorded:
            self._recorded = RecordedStep(
                self._compute, self.model.bottleneck, self.objective, self.optimizer
            )
        weights = {"eval_lpips": settings.eval_lpips, "eval_fid": settings.eval_fid}
        self.perceptual = perceptual_metrics(weights, samples, self.device)
        # up to here all processes draw the same numbers, from here on each draws its own
        torch.manual_seed(settings.seed + accelerator.process_index)

    def _pass(self, samples: SampleSpec) -> nn.Module:
        """A pass of training, compiled as a whole, or where losses are trained without these."""
        if not self.settings.compile:
            return TrainingPass(self.model, self.objective, samples)
        if self.objective.trained:
            model: Any = compiled(self.model)
            return TrainingPass(model, self.objective, samples)
        return compiled(TrainingPass(self.model, self.objective, samples))

    @property
    def main(self) -> bool:
        """Whether this is the main process, the one that writes and logs."""
        return self.accelerator.is_main_process

    @property
    def evaluated(self) -> VQModel:
        """The model that is evaluated, shown and used: the average where there is one."""
        return self.average.model if self.average else self.model

    @property
    def total_steps(self) -> int:
        """Steps of the whole run: those of ``epochs`` or ``max_steps``, the fewer of both."""
        epochs, steps = self.settings.epochs, self.settings.max_steps
        of_epochs = math.inf if epochs is None else epochs * self.sampler.steps_per_epoch
        return int(min(of_epochs, math.inf if steps is None else steps))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a pass over the training split."""
        return self.sampler.steps_per_epoch

    def is_due(self, every: int | None) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return self.step % self.period(every) == 0 or self.step == self.total_steps

    def period(self, every: int | None) -> int:
        """The steps between; None takes a number that follows from the run's length."""
        return every or max(LEAST_PERIOD, self.total_steps // PERIODS)

    def notices(self) -> Iterator[str]:
        """What a user should know before the first step: of its length, its rate, its tokens."""
        settings = self.settings
        if settings.max_steps is not None and self.total_steps < settings.max_steps:
            yield (
                f"epochs = {settings.epochs} ends the run at step {self.total_steps}, before "
                f"max_steps = {settings.max_steps}; leave one of them out"
            )
        start = settings.quantize_start
        if settings.bottleneck == "vq" and start >= self.total_steps:
            yield f"quantize_start = {start} is never reached: the decoder only sees latents"
        for name, loss in self.objective.weighted.items():
            if loss.start >= self.total_steps:
                yield f"losses.{name}.start = {loss.start} is never reached: the term never acts"
        for epoch in settings.sample_epochs:
            if epoch * self.steps_per_epoch > self.total_steps:
                yield f"sample_epochs = {epoch} is never reached: there is no image of it"
        if settings.precision == "tf32" and self.device.type == "cpu":
            yield "precision = tf32 acts on a GPU alone: this run is in float32"
        if settings.compile:
            yield "compile = true: the second step waits for the compiler, up to a minute"
        if settings.cuda_graph and self._unrecorded:
            yield f"cuda_graph = true has no effect here: {self._unrecorded}"
        if self.learning_rate.notice:
            yield self.learning_rate.notice
        if self.objective.labelled:
            return
        backbone = self.config.components["backbone"]
        notice = few_tokens(self.model, self.source.shape, getattr(backbone, "options", None))
        if notice:
            yield notice

    def batches(self) -> Iterator[list[tuple[MicroBatch, Tensor]]]:
        """This process's micro-batches of each step with their samples, from the next step on."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        while True:
            steps = list(self.sampler.epoch(self.step, rank, world, self.settings.accumulate))
            chosen = [
                TrainingBatch(part.samples, self._key(step), part.positions)
                for step, parts in enumerate(steps, self.step)
                for part in parts
            ]
            samples = self.train_split.training_batches(chosen, self.device)
            for parts in steps:
                yield [(part, next(samples)) for part in parts]

    def train_step(self, parts: list[tuple[MicroBatch, Tensor]]) -> dict[str, Tensor]:
        """One step of the optimizer; returns this process's loss terms, detached."""
        if not self.model.training:
            self.model.train()
        self.batch = parts[0][1]
        key = self._key(self.step)
        tensors = [self.source.augment(each, key, part.positions) for part, each in parts]
        if self.objective.labelled:
            tensors += [self._labels(part, key) for part, _ in parts]
        shares = [part.share for part, _ in parts]
        compute = self._recorded if self._recorded and self._whole else self._compute
        values = compute(tensors, shares)
        self.step += 1
        if self.average:
            self.average.update(self.step)
        self.learning_rate.set(self.step)
        return self.accumulator.add(values, shares, self.step, self.sampler.size(self.step - 1))

    def _key(self, step: int) -> int:
        """What the random changes of a step's samples depend on."""
        return counter_rng.key_of(self.settings.seed, step)

    def _labels(self, part: MicroBatch, key: int) -> Tensor:
        """The classes of the samples of a micro-batch, on the device."""
        batch = TrainingBatch(part.samples, key, part.positions)
        return to_device(self.train_split.training_labels(batch), self.device)

    def _compute(self, tensors: Sequence[Tensor], shares: Sequence[float]) -> StepValues:
        """Forward and backward passes, the optimizer's step and that of the codes."""
        forwards = []
        with self._compiling():
            for number, share in enumerate(shares):
                own = tensors[number :: len(shares)]  # samples, and labels if there are any
                last = number == len(shares) - 1
                with contextlib.nullcontext() if last else unsynchronised(self._parallel):
                    forwards.append(self._forward_backward(*own, share=share))
        norm = self._optimize()
        self.model.bottleneck.update(self.optimizer)
        self.objective.update()
        return StepValues(tuple(forwards), norm)

    @property
    def _whole(self) -> bool:
        """Whether the next step's batch is a whole one, as all but the last of an epoch."""
        return self.sampler.size(self.step) == self.sampler.size(0)

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        """Compile steps of whole batches, from the second on: the first one starts the codes."""
        if not self.settings.compile:
            yield
            return
        now = self._whole and self.step > 0
        first = now and not self._compiled
        waiting = working("compiling the step") if first else contextlib.nullcontext()
        reused = any(each.adaptive for each in self.objective.trained.values())
        with waiting, compiling(now=now, reused=reused):
            yield
        self._compiled = self._compiled or now

    def _forward_backward(
        self, batch: Tensor, labels: Tensor | None = None, *, share: float
    ) -> ForwardValues:
        with self.accelerator.autocast():
            # a share would be another graph where the pass is compiled as a whole
            further: dict[str, Any] = {"share": share} if self.objective.trained else {}
            if labels is not None:
                further["labels"] = labels
            out: TrainingOutput = self._parallel(channels_last(batch), **further)
        # without a network, and with codes that are moving averages, nothing has a gradient
        if out.loss.requires_grad:
            # gradients are averaged over the processes, and this share is of the whole batch
            loss = times(out.loss, share * self.accelerator.num_processes)
            scaler = self.accelerator.scaler
            (loss if scaler is None else scaler.scale(loss)).backward()
        turn = {} if out.batch is None else self.opponents.turn(out.batch, share)
        return ForwardValues.of(out, turn)

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
        self.opponents.step()
        if scaler is not None:
            scaler.update()
        for parameter in parameters:
            parameter.grad = None
        return norm
