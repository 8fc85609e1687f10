"""How far a run is, and its latest metrics: live on a terminal, a line a log step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Group

from vq.display import Bar, Display, Fields, turning
from vq.progress import in_words
from vq.training.callbacks.log_metrics import progress_line
from vq.training.trainer import Trainer

#: Weight of the newest log line in the mean time of a step.
NEWEST = 0.3
#: What comes again and again between steps, as a task, and the setting that says how often.
PERIODS = {"evaluating": "eval_every", "saving": "checkpoint_every", "plotting": "sample_every"}


class ShowProgress:
    """A callback that shows a run on a display.

    The time left is that of the steps to come, at their mean speed without what comes between
    them, and that of the evaluations, checkpoints and plots to come, each as long as the last.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._metrics: dict[str, Any] = {}
        self._step_seconds: float | None = None

    def vq_run_start(self, run: Trainer) -> None:
        """Note the step that a resumed run is at."""
        self._run = run
        self._first, self._began = run.step, time.monotonic()

    def vq_step_end(self) -> None:
        """Show the run once the first step is done."""
        self._display.panel = self

    def vq_log(self, run: Trainer, metrics: Mapping[str, Any]) -> None:
        """Show the metrics."""
        measured = run.settings.batch_size / metrics["images_per_second"]
        before = self._step_seconds or measured
        self._step_seconds = before + NEWEST * (measured - before)
        self._metrics |= metrics
        if not self._display.console.is_live:
            line = progress_line(metrics, run.total_steps)
            self._display.console.print_line("  ".join(filter(None, (line, self._left()))))

    def vq_run_end(self) -> None:
        """Leave the last state where it is, without a time left."""
        shown, self._display.panel = self._display.panel is self, None
        if shown and self._display.console.is_live:
            self._first, self._step_seconds = self._run.step, None
            self._display.console.print(self)

    def __rich__(self) -> Group:
        """How far the run is, and its latest metrics."""
        run = self._run
        step = f"step {run.step}/{run.total_steps}"
        share = run.step / max(run.total_steps, 1)
        left = turning(_epochs(run)) if self._display.panel is self else _epochs(run)
        return Group(Bar(left, share, (step, self._left())), Fields(self._fields()))

    def _fields(self) -> list[str]:
        """The latest metrics, the most important first."""
        found = self._metrics
        size = self._run.model.codebook_size
        return [
            text.format(found[name], size)
            for name, text in (
                ("loss", "loss {:.4g}"),
                ("test_psnr", "psnr {:.2f}"),
                ("test_accuracy", "accuracy {:.3f}"),
                ("test_lpips", "lpips {:.3f}"),
                ("test_fid", "fid {:.1f}"),
                ("perplexity", "perplexity {:.0f}/{}"),
                ("images_per_second", "{:.0f} samples/s"),
            )
            if name in found
        ]

    def _left(self) -> str:
        seconds = self.seconds_left()
        return f"{in_words(seconds)} left" if seconds else ""

    def seconds_left(self) -> float | None:
        """The time that the rest of the run takes; None before anything was measured."""
        run, pace = self._run, self._step_seconds
        done = run.step - self._first
        if pace is None and done >= 3:  # the first log line is still to come
            pace = (time.monotonic() - self._began) / done
        if pace is None:
            return None
        between = sum(
            self._display.seconds.get(text, 0.0)
            * _to_come(run, run.period(getattr(run.settings, every)))
            for text, every in PERIODS.items()
        )
        return (run.total_steps - run.step) * pace + between


def _to_come(run: Trainer, every: int) -> int:
    """How often something that is due every so many steps, and at the end, is still to come."""
    return -(-run.total_steps // every) - run.step // every if run.step < run.total_steps else 0


def _epochs(run: Trainer) -> str:
    """The passes over the data so far, of all of them; a run may have less than one."""
    of_all = run.total_steps / run.sampler.steps_per_epoch
    digits = 1 if of_all >= 10 else 2
    return f"epoch {run.step / run.sampler.steps_per_epoch:.{digits}f}/{of_all:.{digits}f}"
