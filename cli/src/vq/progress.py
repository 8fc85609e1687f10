"""Progress: a live bar on a terminal or in a notebook, lines of text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vq.terminal import Terminal

if TYPE_CHECKING:
    from vqcore.plugin.protocols import TrainingRun

#: Seconds between two lines of ``SampleProgress``.
PAUSE = 30.0

_IN_LINE = ("loss", "reconstruction", "perplexity", "test_psnr")
_ON_BAR = ("loss", "perplexity")  # what fits beside the bar on 80 columns


class _Bar:
    """A bar that is live where the console can show one. Leaving the context stops it."""

    def __init__(self, console: Console | None, verb: str, *, transient: bool = False) -> None:
        self.console = console or Terminal()
        notebook = self.console.is_jupyter and find_spec("ipywidgets") is not None
        terminal = self.console.is_terminal and not self.console.is_dumb_terminal
        self.live = terminal or notebook
        self.bar = Progress(
            TextColumn(verb),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            console=self.console,
            disable=not self.live,
            transient=transient,
        )
        self.task = self.bar.add_task(verb, total=None, metrics="")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.bar.stop()


class SampleProgress(_Bar):
    """Counts samples; ``verb`` names what is done to them, as in ``encoding``."""

    def __init__(self, console: Console | None, verb: str) -> None:
        super().__init__(console, verb, transient=True)
        self.verb = verb
        self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def report(self, done: int, total: int | None = None) -> None:
        """Show that so many samples are done, of so many where that is known."""
        self.bar.update(self.task, completed=done, total=total)
        now = time.monotonic()
        if not self.live and now - self.shown > PAUSE:
            self.shown = now
            of_all = f" of {total}" if total else ""
            self.console.print(f"{self.verb}: {done}{of_all} samples")


class TrainingProgress(_Bar):
    """A callback that shows how far a run is, and its latest metrics."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console, "training")

    def vq_run_start(self, run: TrainingRun) -> None:
        """Start the bar, at the step that a resumed run is at."""
        self.bar.update(self.task, total=run.total_steps, completed=run.step)
        self.bar.start()

    def vq_step_end(self, step: int) -> None:
        """Advance the bar."""
        self.bar.update(self.task, completed=step)

    def vq_log(self, run: TrainingRun, metrics: Mapping[str, Any]) -> None:
        """Show the metrics."""
        self.bar.update(self.task, metrics=_shown(metrics, _ON_BAR))
        if not self.live:
            line = progress_line(metrics, run.total_steps)
            self.console.print(line, soft_wrap=True)

    def vq_run_end(self) -> None:
        """Stop the bar."""
        self.__exit__()


def progress_line(metrics: Mapping[str, Any], total_steps: int) -> str:
    """A line of metrics.jsonl in short: step, losses, held-out PSNR, speed."""
    speed = f"{metrics['images_per_second']:.0f} samples/s"
    return f"step {metrics['step']}/{total_steps}  {_shown(metrics, _IN_LINE)}  {speed}"


def _shown(metrics: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names if name in metrics)
