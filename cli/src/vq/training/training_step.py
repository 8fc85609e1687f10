"""A step of training: forward and backward passes, the optimizer's step and that of the codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vq.config.run_config import RunConfig
from vq.models.autoencoder import VQModel, channels_last
from vq.processes.gradients import unsynchronised
from vq.progress import working
from vq.training.compiled import compiled, compiling
from vq.training.distributed import data_parallel
from vq.training.metric_accumulator import ForwardValues, StepValues
from vq.training.objective import Objective
from vq.training.opponents import Opponents
from vq.training.recorded_step import RecordedStep, why_not_recorded
from vq.training.training_pass import TrainingOutput, TrainingPass
from vqcore.interfaces.dataset import SampleSpec
from vqcore.numerics.stable import times


class TrainingStep:
    """Changes a model, its codes and its losses by one step; compiled or recorded on request.

    Args:
        model, objective, opponents, optimizer: what it computes with, and changes.
        samples: that the model takes.
        accelerator: this process's device, precision and rank.
        settings: whether steps are compiled or recorded, and how gradients are clipped.

    Attributes:
        unrecorded: why no step can be recorded as a CUDA graph here; None where some can.
    """

    def __init__(
        self,
        model: VQModel,
        objective: Objective,
        opponents: Opponents,
        optimizer: torch.optim.Optimizer,
        samples: SampleSpec,
        accelerator: Accelerator,
        settings: RunConfig,
    ) -> None:
        self._model, self._objective, self._opponents = model, objective, opponents
        self._optimizer, self._accelerator, self._settings = optimizer, accelerator, settings
        self._device: torch.device = accelerator.device
        self._pass = data_parallel(self._training_pass(samples), accelerator)
        self._was_compiled = False
        self.unrecorded = why_not_recorded(
            self._device, accelerator.num_processes, settings.precision, optimizer,
            [*objective.trained],
        )  # fmt: skip
        self._recorded: RecordedStep | None = None
        if settings.cuda_graph and not self.unrecorded:
            self._recorded = RecordedStep(self._compute, model.bottleneck, objective, optimizer)

    def _training_pass(self, samples: SampleSpec) -> nn.Module:
        """The forward pass, compiled as a whole, or without the losses where some are trained."""
        if not self._settings.compile:
            return TrainingPass(self._model, self._objective, samples)
        if self._objective.trained:
            model: Any = compiled(self._model)
            return TrainingPass(model, self._objective, samples)
        return compiled(TrainingPass(self._model, self._objective, samples))

    def __call__(
        self, tensors: Sequence[Tensor], shares: Sequence[float], *, whole: bool
    ) -> StepValues:
        """Do a step.

        Args:
            tensors: the samples (B, *shape) of every micro-batch, then the labels (B,) of every one
                where losses read them.
            shares: of the step's samples that each micro-batch has.
            whole: whether the batch is a full one, not the short one at the end of an epoch. Only
                full ones are compiled or recorded.
        """
        if self._recorded and whole:
            return self._recorded(tensors, shares)
        return self._compute(tensors, shares, whole=whole)

    def _compute(
        self, tensors: Sequence[Tensor], shares: Sequence[float], *, whole: bool = True
    ) -> StepValues:
        """The step as it is without a graph."""
        forwards = []
        # the first step starts the codes, as no other does: it is not worth compiling
        with self._compiling(now=whole and self._objective.steps.value > 0):
            for number, share in enumerate(shares):
                own = tensors[number :: len(shares)]  # samples, and labels if there are any
                last = number == len(shares) - 1
                with nullcontext() if last else unsynchronised(self._pass):
                    forwards.append(self._forward_backward(*own, share=share))
        norm = self._optimize()
        self._model.bottleneck.update(self._optimizer)
        self._objective.update()
        return StepValues(tuple(forwards), norm)

    @contextmanager
    def _compiling(self, *, now: bool) -> Iterator[None]:
        """Inside, passes run compiled if the settings ask for it, unless ``now`` is false."""
        if not self._settings.compile:
            yield
            return
        first = now and not self._was_compiled
        waiting = working("compiling the step") if first else nullcontext()
        reused = any(each.adaptive for each in self._objective.trained.values())
        with waiting, compiling(now=now, reused=reused):
            yield
        self._was_compiled = self._was_compiled or now

    def _forward_backward(
        self, batch: Tensor, labels: Tensor | None = None, *, share: float
    ) -> ForwardValues:
        with self._accelerator.autocast():
            # a share would be another graph where the pass is compiled as a whole
            further: dict[str, Any] = {"share": share} if self._objective.trained else {}
            if labels is not None:
                further["labels"] = labels
            out: TrainingOutput = self._pass(channels_last(batch), **further)
        # without a network, and with codes that are moving averages, nothing has a gradient
        if out.loss.requires_grad:
            # gradients are averaged over the processes, and this share is of the whole batch
            loss = times(out.loss, share * self._accelerator.num_processes)
            scaler = self._accelerator.scaler
            (loss if scaler is None else scaler.scale(loss)).backward()
        turn = {} if out.batch is None else self._opponents.turn(out.batch, share)
        return ForwardValues.of(out, turn)

    def _optimize(self) -> Tensor:
        """Clip the gradients and apply them; returns their norm before clipping.

        Accelerate's own methods do the same, at several times the cost on the host.
        """
        scaler, clip = self._accelerator.scaler, self._settings.grad_clip
        groups = self._optimizer.param_groups
        parameters = [each for group in groups for each in group["params"]]
        if scaler is not None:
            scaler.unscale_(self._optimizer)
        gradients = [each.grad for each in parameters if each.grad is not None]
        # the norm of no gradients would be on the CPU
        norm = get_total_norm(gradients) if gradients else torch.zeros((), device=self._device)
        if clip:
            clip_grads_with_norm_(parameters, clip, norm)
        if scaler is None:
            self._optimizer.step()
        else:
            scaler.step(self._optimizer)
        self._opponents.step()
        if scaler is not None:
            scaler.update()
        for parameter in parameters:
            parameter.grad = None
        return norm
