"""Training: one step as design.md states it, and around it the run folder, checkpoints, pictures and signals."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from vq.pipeline import checkpoint, pictures
from vq.pipeline.config import Plan
from vq.pipeline.device import choose_device
from vq.pipeline.environment import describe_environment
from vq.pipeline.evaluate import evaluate
from vq.pipeline.interrupt import Interrupt
from vq.pipeline.lifecycle import LifeCycle
from vq.pipeline.model import ModelOutput, VQModel, build_model, build_source
from vq.pipeline.progress import TrainingProgress
from vq.pipeline.reporter import Reporter
from vq.pipeline.run_folder import RunFolder
from vq.pipeline.window import Window, require_finite
from vqcore.errors import RunError, SettingError, UsageError, VQError
from vqcore.loader import describe
from vqcore.registry import Registry

PICTURED = 16


class Run:
    """One run: what life-cycle hooks see as ``run``.

    Building it reads the data set and constructs the model, so that whatever is wrong is said before a folder exists.

    Args:
        plan: the resolved config.
        registry: where the components come from.
        reporter: where to report.

    Attributes:
        config: the plan.
        model: the model being trained.
        device: where it is.
        folder: the run folder.
        step: number of steps done.
    """

    def __init__(self, plan: Plan, registry: Registry, reporter: Reporter) -> None:
        self.config, self.registry, self.reporter = plan, registry, reporter
        self.settings = plan.config
        self.source = build_source(plan, registry)
        self.train_split, self.test_split = self.source.split("train"), self.source.split("test")
        self.accelerator = _accelerator(choose_device(self.settings.device), self.settings.precision)
        self.device = self.accelerator.device
        self.model: VQModel = build_model(plan, registry, self.source)
        self.model.to(self.device, memory_format=torch.channels_last)
        if self.settings.compile:
            backbone = self.model.backbone
            backbone.encode, backbone.decode = torch.compile(backbone.encode), torch.compile(backbone.decode)
        self.optimizer = registry.build(plan.components["optimizer"], params=list(self.model.parameters()))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        # Only the optimizer: a prepared model would evaluate in mixed precision, and vq evaluate would not.
        self.stepper = self.accelerator.prepare(self.optimizer)
        self.life = LifeCycle(registry, reporter.warn)
        self.step, self.seconds, self.window = 0, 0.0, Window()
        self.folder: RunFolder

    # -- length and order -------------------------------------------------------------------------------------

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a pass over the training split; the last may be short."""
        return math.ceil(len(self.train_split) / self.settings.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        total = self.settings.epochs * self.steps_per_epoch
        return total if self.settings.max_steps is None else min(total, self.settings.max_steps)

    def _rate(self, step: int) -> float:
        """Factor of the learning rate at a step, a pure function of it."""
        warm = min(1.0, (step + 1) / self.settings.warmup_steps) if self.settings.warmup_steps else 1.0
        if self.settings.schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))

    def _batches(self) -> Iterator[Tensor]:
        """Batches from the present step on. The order depends on the seed and the epoch alone."""
        while True:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.train_split), generator=generator)
            rest = order[done * self.settings.batch_size :]
            yield from self.train_split.batches(rest.split(self.settings.batch_size), self.device)

    # -- the loop ---------------------------------------------------------------------------------------------

    def train(self, folder: RunFolder, interrupt: Interrupt) -> str:
        """Train to the end or to a signal; returns ``done`` or ``interrupted``."""
        self.folder = folder
        self.life.call("vq_run_start", run=self)
        status, began = "done", time.perf_counter() - self.seconds
        with TrainingProgress(self.reporter, self.total_steps, self.step) as progress:
            batches = self._batches()
            while self.step < self.total_steps:
                batch = next(batches)
                out = self._train_step(batch)
                self.window.add(out, batch.shape[0])
                self.seconds = time.perf_counter() - began
                if self.life.listens("vq_step_end"):
                    self.life.call("vq_step_end", run=self, step=self.step, losses=_detached(out))
                progress.advance()
                stop = interrupt.number is not None
                line = self._after_step(batch, stop)
                if line:
                    progress.report(line)
                if stop:
                    status = "interrupted"
                    break
        return status

    def _train_step(self, batch: Tensor) -> ModelOutput:
        self.model.train()
        with self.accelerator.autocast():
            out: ModelOutput = self.model(_channels_last(batch))
        self.accelerator.backward(out.loss)
        if self.settings.grad_clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip)
        self.stepper.step()
        self.scheduler.step()
        self.stepper.zero_grad()
        self.model.bottleneck.update(self.optimizer)
        self.step += 1
        return out

    def _after_step(self, batch: Tensor, stop: bool) -> dict[str, Any]:
        """Log, evaluate, picture and save where this step is due; the line that was logged, if any."""
        settings, last = self.settings, stop or self.step == self.total_steps
        evaluates = last or self.step % settings.eval_every == 0
        saves = last or self.step % settings.checkpoint_every == 0
        if not (saves or evaluates or self.step % settings.log_every == 0):
            if self.step % settings.sample_every == 0:
                self.save_samples()
            return {}
        line = {"step": self.step, "epoch": (self.step - 1) // self.steps_per_epoch}
        line |= {"lr": self.scheduler.get_last_lr()[0], **self.window.close(self.step)}
        if evaluates:
            figures = self.evaluate()
            require_finite(self.step, {"test_mse": figures["mse"]})
            line |= {f"test_{name}": figures[name] for name in HELD_OUT}
        for extra in self.life.call("vq_metrics", _figures, run=self, batch=batch):
            line |= {name: value for name, value in extra.items() if name not in line}
        self.folder.append_metrics(line)
        if last or self.step % settings.sample_every == 0:
            self.save_samples()
        if saves:
            self.save_checkpoint()
        self.window.restart()
        return line

    # -- what a run leaves behind -----------------------------------------------------------------------------

    def evaluate(self) -> dict[str, Any]:
        """Held-out figures of the present weights."""
        return evaluate(self.model, self.source, self.settings.batch_size, self.device)

    def save_samples(self) -> None:
        """Held-out samples beside their reconstructions, as samples/step-<step>.png."""
        last = len(self.test_split) - 1  # spread over the split: neighbours may be alike
        order = torch.linspace(0, last, min(PICTURED, last + 1)).long()
        batch = next(self.test_split.batches([order], self.device))
        path = self.folder.samples / f"step-{self.step:08d}.png"
        pictures.save_reconstructions(path, self.model, batch, self.source.value_range)

    def save_checkpoint(self) -> None:
        """Everything that going on needs."""
        state = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"last_epoch": self.scheduler.last_epoch},
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "seconds": self.seconds,
        }
        checkpoint.save(self.folder.checkpoints, self.step, self.model, state, self.settings.keep_checkpoints)
        self.folder.set_status("running", self.step)

    def restore(self, folder: RunFolder) -> None:
        """Take up an earlier run where its latest checkpoint left it.

        Raises:
            UsageError: if there is no checkpoint.
            RunError: if it is damaged or belongs to another run.
        """
        path = checkpoint.latest(folder.checkpoints)
        checkpoint.load_weights(path, self.model)
        try:
            state = checkpoint.load_trainer(path)
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.scheduler.last_epoch = state["scheduler"]["last_epoch"]
            if self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path / checkpoint.TRAINER}: not the state of this run: {describe(error)}") from error
        for group, base in zip(self.optimizer.param_groups, self.scheduler.base_lrs, strict=True):
            group["lr"] = base * self._rate(self.step)
        folder.rewind_metrics(self.step)

    def finish(self) -> dict[str, Any]:
        """Held-out figures, summary.json and the pictures of the whole run."""
        figures = self.evaluate()
        figures |= {"steps": self.step, "seconds": self.seconds}
        figures["images_per_second"] = self.window.total_samples / max(self.window.total_seconds, 1e-9)
        self.folder.write_json(self.folder.summary, figures)
        pictures.save_curves(self.folder.path / "curves.png", self.folder.read_metrics())
        pictures.save_codebook(self.folder.path / "codebook.png", self.model, self.test_split, self.device)
        return figures


#: The held-out figures that metrics.jsonl repeats over the run.
HELD_OUT = ("psnr", "mse", "perplexity", "codes_used")


def execute(
    run: Run, folder: RunFolder, plugins: list[dict[str, Any]], resumed: bool
) -> tuple[str, dict[str, Any], int]:
    """Carry a run out in its folder: status, figures and exit code. A failure is recorded in the folder, then raised.

    A mistake of the user's that shows only with the first batch leaves no folder behind.
    """
    first = run.step
    folder.write_yaml(folder.config, run.config.dump())
    folder.write_json(folder.data, run.source.describe())
    folder.write_json(folder.plugins, plugins)
    folder.write_json(folder.env, describe_environment(run.device, run.accelerator.num_processes))
    folder.set_status("running", run.step)
    try:
        with Interrupt() as interrupt:
            status = run.train(folder, interrupt)
            figures = run.finish()
        run.life.call("vq_run_end", run=run, status=status)
        folder.set_status(status, run.step)
        return status, figures, interrupt.exit_code if status == "interrupted" else 0
    except BaseException as error:
        run.life.call("vq_run_end", run=run, status="failed")
        if isinstance(error, VQError) and error.exit_code == 2 and run.step == first and not resumed:
            shutil.rmtree(folder.path, ignore_errors=True)
        else:
            _record_failure(folder, run.step, error)
        raise


def _record_failure(folder: RunFolder, step: int, error: BaseException) -> None:
    with contextlib.suppress(RunError):  # the disk that failed the run may refuse this too
        folder.set_status("failed", step, error=f"{type(error).__name__}: {error}")


def _accelerator(device: torch.device, precision: str) -> Accelerator:
    if precision == "fp16" and device.type == "cpu":
        raise SettingError("precision", precision, "no or bf16 on a CPU")  # Accelerate would train in float32
    AcceleratorState._reset_state(True)  # it outlives a run, and would refuse another precision in this process
    if device.type == "cuda":
        torch.cuda.set_device(device)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    if accelerator.num_processes > 1:
        found = f"{accelerator.num_processes} processes"
        raise UsageError(f"vq train was started in {found}: it trains in one so far; start it without a launcher")
    return accelerator


def _channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def _figures(answer: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in answer.items()}


def _detached(out: ModelOutput) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in out.losses.items()}
