"""The lines of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vq.checkpoints import checkpoint
from vq.progress import progress_line
from vq.training.distributed import run_on_main
from vq.training.log_file import PROGRESS
from vq.training.trainer import Trainer
from vqcore.errors import MainProcessError, RunError, UsageError, VQError
from vqcore.plugin.hook_caller import HookCaller


class LogMetrics:
    """Completes a line of metrics.jsonl and announces it as ``vq_log``. Every process calls it.

    A line is due where logging, evaluation or saving is. It holds the means since the line
    before, then what ``vq_metrics`` of callbacks and plugins adds under new names.
    """

    def __init__(self, hooks: HookCaller) -> None:
        self._hooks = hooks

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
            found = self._hooks.call("vq_metrics", _as_floats, run=run, batch=run.batch)
        except RunError as error:
            raise _with_resume_hint(error, run) from None
        for metrics in found:
            line |= {name: value for name, value in metrics.items() if name not in line}
        run_on_main(run.accelerator, lambda: self._write(run, line))

    def is_due(self, run: Trainer) -> bool:
        """Whether the config asks for a line at this step."""
        settings = run.settings
        periods = (settings.log_every, settings.eval_every, settings.checkpoint_every)
        return any(run.is_due(every) for every in periods)

    def _write(self, run: Trainer, line: dict[str, Any]) -> None:
        run.folder.append_metrics(line)
        PROGRESS.info(progress_line(line, run.total_steps))
        self._hooks.call("vq_log", run=run, metrics=line)


def _as_floats(answer: Mapping[str, Any]) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in answer.items()}
    except (AttributeError, TypeError, ValueError) as error:
        expected = "Mapping[str, float]"
        raise UsageError(f"vq_metrics returned {answer!r}: expected {expected}") from error


def _with_resume_hint(error: RunError, run: Trainer) -> VQError:
    """The error with the command that resumes the run; every process raises the same."""
    if not run.main:
        return MainProcessError.of(error)
    if not checkpoint.exists(run.folder.checkpoints):
        return RunError(f"{error}; there is no checkpoint yet")
    return RunError(
        f"{error}; last good checkpoint: {checkpoint.latest(run.folder.checkpoints)}, "
        f"resume from it with: vq train --resume {run.folder.path}"
    )
