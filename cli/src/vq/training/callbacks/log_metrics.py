"""The lines of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vq.checkpoints import checkpoint
from vq.processes.together import on_main
from vq.training.callbacks.evaluate import logged_metrics
from vq.training.log_file import PROGRESS
from vq.training.not_finite import NotFinite, explain
from vq.training.skipped import SkippedSamples
from vq.training.trainer import Trainer
from vqcore.errors import OtherProcessError, RunError, UsageError, VQError, shown
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.reserved import is_reserved

#: What the log says of a line, besides step and speed.
_IN_SHORT = (
    "loss", "reconstruction", "classification", "perplexity", "test_psnr", "test_lpips", "test_fid",
    "test_accuracy",
)  # fmt: skip


class LogMetrics:
    """Completes a line of metrics.jsonl and announces it as ``vq_log``. Every process calls it.

    A line is due where logging, evaluation or saving is. It holds the means since the line
    before, the held-out metrics if they are due, and what ``vq_metrics`` of callbacks and plugins
    adds under names of their own.
    """

    def __init__(self, hooks: HookCaller) -> None:
        self._hooks = hooks
        self._skipped = SkippedSamples()

    def vq_step_end(self, run: Trainer) -> None:
        """Log this step if a line is due, or a signal stops the run."""
        if not (run.stop_signal or self.is_due(run)):
            return
        line = {
            "step": run.step,
            "epoch": (run.step - 1) // run.sampler.steps_per_epoch,
            "lr": run.optimizer.param_groups[0]["lr"],
        }
        try:
            line |= run.accumulator.close(run.step)
            line |= self._skipped.since_last(run)
            line |= logged_metrics(run)
        except NotFinite as error:
            raise _with_resume_hint(error, run) from None
        on_main(lambda: self._write(run, line))

    def is_due(self, run: Trainer) -> bool:
        """Whether the config asks for a line at this step."""
        settings = run.settings
        periods = (settings.log_every, settings.eval_every, settings.checkpoint_every)
        return any(run.is_due(every) for every in periods)

    def _write(self, run: Trainer, line: dict[str, Any]) -> None:
        names = OwnNames({*line, *run.config.regularizers, *run.objective.names})
        for metrics in self._hooks.call("vq_metrics", names.read, run=run, batch=run.batch):
            line |= metrics
        run.folder.append_metrics(line)
        PROGRESS.info(progress_line(line, run.total_steps))
        self._hooks.call("vq_log", run=run, metrics=line)


def progress_line(metrics: Mapping[str, Any], total_steps: int) -> str:
    """A line of metrics.jsonl in short: step, losses, held-out quality, speed."""
    shown = "  ".join(f"{name} {metrics[name]:.4g}" for name in _IN_SHORT if name in metrics)
    speed = f"{metrics['images_per_second']:.0f} samples/s"
    return f"step {metrics['step']}/{total_steps}  {shown}  {speed}"


class OwnNames:
    """Reads the answers to ``vq_metrics``: numbers, under names that nobody else has.

    Args:
        logged: names that the run itself logs, besides those that are always reserved.
    """

    def __init__(self, logged: Collection[str]) -> None:
        self._logged = logged
        self._owners: dict[str, str] = {}

    def read(self, answer: Any, owner: str) -> dict[str, float]:
        """The metrics of one answer, as floats.

        Raises:
            UsageError: naming the hook, and the metric that is no number or whose name is taken.
        """
        if not isinstance(answer, Mapping):
            raise _refusal(shown(answer), "a mapping from names to numbers")
        metrics = {str(name): _number(name, value) for name, value in answer.items()}
        for name in metrics:
            taken = "the run" if is_reserved(name, self._logged) else self._owners.get(name)
            if taken is not None:
                raise _refusal(repr(name), f"a name of its own: {taken} logs this one")
        self._owners |= dict.fromkeys(metrics, owner)
        return metrics


def _number(name: object, value: Any) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except Exception as error:  # a tensor of many values, or a plugin's own type
        raise _refusal(f"{name} = {shown(value)}", "a number") from error


def _refusal(found: str, expected: str) -> UsageError:
    return UsageError(f"vq_metrics returned {found}: expected {expected}")


def _with_resume_hint(found: NotFinite, run: Trainer) -> VQError:
    """The error, its cause and the command that resumes the run; every process raises the same."""
    error = on_main(lambda: explain(found, run))
    if not run.main:
        return OtherProcessError(RunError, error)
    if not checkpoint.exists(run.folder.checkpoints):
        return RunError(f"{error}; there is no checkpoint yet")
    return RunError(
        f"{error}; last good checkpoint: {checkpoint.latest(run.folder.checkpoints)}, "
        f"resume from it with: vq train --resume {run.folder.path}"
    )
