"""Training: one step as design.md states it, and around it logging, evaluation, pictures and checkpoints."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from torch import Tensor, nn

from vq.checkpoints import checkpoint, trainer_state
from vq.config.run_config import ResolvedConfig
from vq.evaluation.held_out import evaluate
from vq.interrupt import Interrupt
from vq.models.autoencoder import ModelOutput, VQModel, build_model, channels_last, place
from vq.runs import history
from vq.runs.files import writing
from vq.runs.folder import RunFolder
from vq.training.batches import BatchSampler, MicroBatch
from vq.training.collapse import collapse_warning
from vq.training.distributed import StopVote, data_parallel, run_on_main, unsynchronised
from vq.training.metric_accumulator import MetricAccumulator, require_finite
from vq.training.open_data import open_data
from vq.training.progress import TrainingProgress
from vq.training.reporter import Reporter
from vq.training.trackers import scalars, start_trackers
from vq_report import plots
from vqcore.distributed import from_first_rank
from vqcore.errors import RunError
from vqcore.numerics import counter_rng
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Registry

PICTURED = 16


class Run:
    """One run: what life-cycle hooks see as ``run``.

    Building it reads the data set and constructs the model, so that whatever is wrong is said before a folder exists.
    Where several processes train, each has one; the first alone writes, speaks and calls hooks.

    Args:
        config: the resolved config.
        registry: where the components come from.
        reporter: where to report.
        accelerator: this process's device, precision and place among the others.
        known: what an earlier part of the run recorded of the data set.

    Attributes:
        config: the config.
        model: the model being trained.
        device: where it is.
        folder: the run folder.
        step: number of steps done.
        main: whether this is the first process.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        registry: Registry,
        reporter: Reporter,
        accelerator: Accelerator,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.registry, self.reporter = config, registry, reporter
        self.settings, self.accelerator, self.device = (
            config.settings,
            accelerator,
            accelerator.device,
        )
        self.main = accelerator.is_main_process
        self.source, self.train_split, self.test_split = open_data(
            config, registry, accelerator, known or {}
        )
        self.order = BatchSampler(
            len(self.train_split), self.settings.batch_size, self.settings.seed
        )
        self.model: VQModel = place(build_model(config, registry, self.source), self.device)
        if self.settings.compile:
            backbone = self.model.backbone
            backbone.encode, backbone.decode = (
                torch.compile(backbone.encode),
                torch.compile(backbone.decode),
            )
        self.parallel = data_parallel(self.model, accelerator)
        parameters = list(self.model.parameters()) or [
            nn.Parameter(torch.zeros(0))
        ]  # no optimizer takes none
        self.optimizer = registry.build(config.components["optimizer"], params=parameters)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.rate)
        # Only the optimizer: a prepared model would evaluate in mixed precision, and vq evaluate would not.
        self.stepper = accelerator.prepare(self.optimizer)
        torch.manual_seed(
            self.settings.seed + accelerator.process_index
        )  # alike so far, apart from here on
        self.life = HookCaller(registry, reporter.warn)
        self.step, self.seconds, self.collapsed = 0, 0.0, False
        self.trackers: list[GeneralTracker] = []
        self.window = MetricAccumulator(scaled=accelerator.scaler is not None)
        self.folder: RunFolder

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        total = self.settings.epochs * self.order.steps_per_epoch
        return total if self.settings.max_steps is None else min(total, self.settings.max_steps)

    def rate(self, step: int) -> float:
        """Factor of the learning rate at a step, a pure function of it."""
        warm = (
            min(1.0, (step + 1) / self.settings.warmup_steps) if self.settings.warmup_steps else 1.0
        )
        if self.settings.schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))

    def _batches(self) -> Iterator[list[tuple[MicroBatch, Tensor]]]:
        """This process's parts of each step and their samples, from the present step on."""
        accelerator = self.accelerator
        place = (accelerator.process_index, accelerator.num_processes, self.settings.accumulate)
        while True:
            steps = list(self.order.epoch(self.step, *place))
            samples = self.train_split.batches(
                [part.samples for parts in steps for part in parts], self.device
            )
            for parts in steps:
                yield [(part, next(samples)) for part in parts]

    # -- the loop ------------------------------------------------------------

    def train(self, folder: RunFolder, interrupt: Interrupt) -> str:
        """Train to the end or to a signal; returns ``done`` or ``interrupted``."""
        self.folder = folder
        self._tell("vq_run_start")
        run_on_main(self.accelerator, self._start_trackers)
        stop, vote, began = 0, StopVote(self.accelerator), time.perf_counter() - self.seconds
        with TrainingProgress(self.reporter, self.total_steps, self.step) as progress:
            batches = self._batches()
            while self.step < self.total_steps and not stop:
                parts = next(batches)
                losses = self._train_step(parts)
                self.seconds = time.perf_counter() - began
                if self.life.listens("vq_step_end"):
                    self._tell("vq_step_end", step=self.step, losses=losses)
                progress.advance()
                stop = vote(interrupt.number or 0)
                line = self._after_step(parts[0][1], bool(stop))
                if line:
                    progress.report(line)
        vote.close()
        interrupt.number = (
            stop or interrupt.number
        )  # the signal may have reached another process alone
        return "interrupted" if stop else "done"

    def _train_step(self, parts: list[tuple[MicroBatch, Tensor]]) -> dict[str, Tensor]:
        """One step of the optimizer; gives the loss terms, those of this process, detached."""
        self.model.train()
        losses: dict[str, Tensor] = {}
        key = counter_rng.key_of(self.settings.seed, self.step)
        for number, (part, samples) in enumerate(parts, 1):
            batch = self.source.augment(samples, key, part.positions)
            with unsynchronised(self.parallel) if number < len(parts) else contextlib.nullcontext():
                out = self._forward_backward(batch, part.share)
            self.window.add(out, part.share)
            for name, value in out.losses.items():
                losses[name] = losses.get(name, 0) + value.detach() * part.share
        norm = self.accelerator.clip_grad_norm_(
            self.model.parameters(), self.settings.grad_clip or math.inf
        )
        self.stepper.step()
        self.scheduler.step()
        self.stepper.zero_grad()
        self.model.bottleneck.update(self.optimizer)
        self.step += 1
        self.window.end_step(self.step, self.order.size(self.step - 1), norm)
        return losses

    def _forward_backward(self, batch: Tensor, share: float) -> ModelOutput:
        with self.accelerator.autocast():
            out: ModelOutput = self.parallel(channels_last(batch))
        if (
            out.loss.requires_grad
        ):  # nothing learns by gradient where there is no network and codes are averages
            # a mean over this part weighs as much as its samples; gradients are averaged over the processes
            self.accelerator.backward(out.loss * (share * self.accelerator.num_processes))
        return out

    def _after_step(self, batch: Tensor, stop: bool) -> dict[str, Any]:
        """Log, evaluate, picture and save where this step is due; the line that was logged, if any."""
        settings, last = self.settings, self.step == self.total_steps
        evaluates = last or self.step % settings.eval_every == 0
        pictured = last or self.step % settings.sample_every == 0
        saves = (
            last or stop or self.step % settings.checkpoint_every == 0
        )  # stopped, it saves first: time may be short
        if not (saves or evaluates or self.step % settings.log_every == 0):
            if pictured:
                run_on_main(self.accelerator, self.save_samples)
            return {}
        line = {"step": self.step, "epoch": (self.step - 1) // self.order.steps_per_epoch}
        line |= {"lr": self.scheduler.get_last_lr()[0]}
        whole = self.window.steps >= min(
            settings.log_every, settings.eval_every, settings.checkpoint_every
        )
        try:
            line |= self.window.close(self.step)
            if evaluates:
                figures = self.evaluate()
                require_finite(self.step, {"test_mse": figures["mse"]})
                line |= {f"test_{name}": figures[name] for name in HELD_OUT if name in figures}
        except RunError as error:
            raise self._told_everywhere(error) from None
        if whole and self.step > settings.warmup_steps:
            self._warn_of_collapse(line)
        run_on_main(self.accelerator, lambda: self._log(line, batch, evaluates, pictured))
        if saves:
            self.save_checkpoint()
        self.window.restart()
        return line

    def _warn_of_collapse(self, line: dict[str, Any]) -> None:
        text = collapse_warning(line, self.model.codebook_size)
        if text and not self.collapsed:
            self.reporter.warn(text)
        self.collapsed = bool(text)  # told again only after it recovered

    def _log(self, line: dict[str, Any], batch: Tensor, evaluated: bool, pictured: bool) -> None:
        for extra in self.life.call("vq_metrics", _figures, run=self, batch=batch):
            line |= {name: value for name, value in extra.items() if name not in line}
        self.folder.append_metrics(line)
        for tracker in self.trackers:
            with writing(self.folder.path):
                tracker.log(scalars(line), step=self.step)
        if evaluated:
            history.record(
                self.folder.path, self.step, self.model, self.test_split, self.settings.batch_size
            )
        if pictured:
            self.save_samples()

    def _start_trackers(self) -> None:
        self.trackers = start_trackers(
            self.settings.trackers, self.folder.path, self.config.dump(), self.step
        )

    def _tell(self, hook: str, **arguments: Any) -> None:
        if self.main:
            self.life.call(hook, run=self, **arguments)

    def _told_everywhere(self, error: RunError) -> BaseException:
        """An error that every process meets, to be raised by each: the first says it, with the way back."""
        if not self.main:
            return SystemExit(error.exit_code)
        good = (
            checkpoint.latest(self.folder.checkpoints)
            if checkpoint.exists(self.folder.checkpoints)
            else None
        )
        back = f"; last good checkpoint: {good}, go on from it with: vq train --resume {self.folder.path}"
        return RunError(f"{error}{back if good else '; it had no checkpoint yet'}")

    # -- what a run leaves behind --------------------------------------------

    def evaluate(self) -> dict[str, Any]:
        """Held-out figures of the present weights; every process takes a share of the split."""
        for (
            buffer
        ) in self.model.backbone.buffers():  # running statistics, say: those that are saved count
            from_first_rank(buffer)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        return evaluate(
            self.model,
            self.test_split,
            self.source.value_range,
            self.settings.batch_size,
            self.device,
            share,
        )

    def save_samples(self) -> None:
        """Held-out samples beside their reconstructions, as samples/step-<step>.png."""
        last = len(self.test_split) - 1  # spread over the split: neighbours may be alike
        order = torch.linspace(0, last, min(PICTURED, last + 1)).long()
        batch = next(self.test_split.batches([order], self.device))
        path = self.folder.samples / f"step-{self.step:08d}.png"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        plots.save_reconstructions(path, self.model, batch, self.source.value_range)

    def save_checkpoint(self) -> None:
        """Everything that going on needs."""
        folder, held, keep = self.folder, trainer_state.of_run(self), self.settings.keep_checkpoints
        run_on_main(
            self.accelerator,
            lambda: checkpoint.save(folder.checkpoints, self.step, self.model, held, keep),
        )
        run_on_main(self.accelerator, lambda: folder.set_status("running", self.step))

    def restore(self, folder: RunFolder) -> None:
        """Take up an earlier run where its latest checkpoint left it, in as many processes as there are now.

        Raises:
            UsageError: if the latest is not there.
            RunError: if it is damaged or belongs to another run.
        """
        if checkpoint.exists(folder.checkpoints):
            trainer_state.load_into(self, checkpoint.latest(folder.checkpoints))
        else:
            self.reporter.say(f"{folder.path} has no checkpoint yet: it starts again")
        run_on_main(self.accelerator, lambda: folder.rewind_metrics(self.step))
        run_on_main(self.accelerator, lambda: history.rewind(folder.path, self.step))

    def finish(self) -> dict[str, Any]:
        """Held-out figures, summary.json and the pictures of the whole run."""
        figures = self.evaluate()
        figures |= {"steps": self.step, "seconds": self.seconds}
        figures["images_per_second"] = self.window.total_samples / max(
            self.window.total_seconds, 1e-9
        )
        run_on_main(self.accelerator, lambda: self._sum_up(figures))
        return figures

    def _sum_up(self, figures: dict[str, Any]) -> None:
        self.folder.write_json(self.folder.summary, figures)
        plots.save_curves(self.folder.path / "curves.png", self.folder.read_metrics())
        plots.save_codebook(
            self.folder.path / "codebook.png", self.model, self.test_split, self.device
        )

    def end(self, status: str) -> None:
        """Close trackers, tell the plugins, and record how it ended."""
        for tracker in self.trackers:
            tracker.finish()
        self._tell("vq_run_end", status=status)
        if self.main and status != "failed":
            self.folder.set_status(status, self.step)


#: The held-out figures that metrics.jsonl repeats over the run.
HELD_OUT = ("psnr", "mse", "perplexity", "codes_used")


def _figures(answer: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in answer.items()}
