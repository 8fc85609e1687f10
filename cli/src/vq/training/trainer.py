"""A run in training: its data, its model, what trains it, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vq.config.resolved_config import ResolvedConfig
from vq.data.labels import labelled
from vq.evaluation.perceptual import perceptual_metrics
from vq.models.autoencoder import VQModel, build_model, place
from vq.progress import working
from vq.runs.folder import RunFolder
from vq.training.batches import BatchSampler, MicroBatch
from vq.training.init_source import InitSource
from vq.training.initialize import Taken, build_from
from vq.training.learning_rate import LearningRate
from vq.training.metric_accumulator import MetricAccumulator
from vq.training.objective import build_objective
from vq.training.open_data import open_data
from vq.training.opponents import Opponents
from vq.training.schedule import blend_steps
from vq.training.training_step import TrainingStep
from vq.training.weight_average import WeightAverage
from vqcore.data.transfer import to_device
from vqcore.interfaces.dataset import SampleSpec, TrainingBatch
from vqcore.layer import VectorQuantizer
from vqcore.numerics import counter_rng
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
        taken: the weights it started from; None where all are new, or those of a checkpoint.
        folder: the run folder, set before the first step.
        step: steps done.
        seconds: time spent in the training loop, earlier parts of a resumed run included.
        stop_signal: the signal that ends the run after this step, else 0.
        batch: the samples of the last step's first micro-batch, as the split served them.
        optimizer, learning_rate: what changes the parameters, and how fast.
        compute: the step itself, on samples that are read and augmented.
        accumulator: the running means of the steps since the last log line.
        last_evaluation: what identifies the weights that were last evaluated on all held-out
            samples, and their metrics.
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
        self.source, self.train_split, self.test_split = open_data(config, registry, recorded or {})
        self.sampler = BatchSampler(len(self.train_split), settings.batch_size, settings.seed)
        samples = SampleSpec.of(self.source)
        with working("building the model"):
            objective = build_objective(config, registry, samples, accelerator.scaler)
            self.objective = objective.to(self.device)
            self.opponents = Opponents(objective, accelerator)
            if objective.labelled:
                for split in (self.train_split, self.test_split):
                    labelled(split, config, self.source, samples)
            samples = replace(samples, likelihood=objective.likelihood)
            self.model, self.taken = self._build_model(registry, samples, initial)
        decay = settings.weight_ema
        self.average = WeightAverage(self.model, decay) if decay else None
        # an optimizer refuses an empty list
        parameters = list(self.model.parameters()) or [nn.Parameter(torch.zeros(0))]
        with working("building the optimizer"):  # torch loads its compiler for the first one
            self.optimizer = registry.build(config.components["optimizer"], params=parameters)
        self.learning_rate = LearningRate(self.optimizer, self.total_steps, settings)
        self.learning_rate.set(0)
        self.compute = TrainingStep(
            self.model, objective, self.opponents, self.optimizer, samples, accelerator, settings
        )
        self.step = 0
        self.seconds = 0.0
        self.stop_signal = 0
        self.accumulator = MetricAccumulator(self.device, scaled=accelerator.scaler is not None)
        weights = {"eval_lpips": settings.eval_lpips, "eval_fid": settings.eval_fid}
        self.perceptual = perceptual_metrics(weights, samples, self.device)
        # up to here all processes draw the same numbers, from here on each draws its own
        torch.manual_seed(settings.seed + accelerator.process_index)

    def _build_model(
        self, registry: Registry, samples: SampleSpec, initial: InitSource | None
    ) -> tuple[VQModel, Taken | None]:
        """The model on the device, and which of the ``initial`` weights it has."""
        taken = None
        if initial is None:
            model = build_model(self.config, registry, samples)
        else:
            model, taken = build_from(initial, self.config, registry, samples)
        place(model, self.device)
        for layer in model.bottleneck.modules():
            if isinstance(layer, VectorQuantizer):
                layer.blend_steps = blend_steps(self.total_steps, self.settings)
                layer.quantize_start = self.settings.quantize_start
        return model, taken

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
        size = self.sampler.size(self.step)
        values = self.compute(tensors, shares, whole=size == self.sampler.size(0))
        self.step += 1
        if self.average:
            self.average.update(self.step)
        self.learning_rate.set(self.step)
        return self.accumulator.add(values, shares, self.step, size)

    def _key(self, step: int) -> int:
        """What the random changes of a step's samples depend on."""
        return counter_rng.key_of(self.settings.seed, step)

    def _labels(self, part: MicroBatch, key: int) -> Tensor:
        """The classes of the samples of a micro-batch, on the device."""
        batch = TrainingBatch(part.samples, key, part.positions)
        return to_device(self.train_split.training_labels(batch), self.device)
