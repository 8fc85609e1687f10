"""Progress for people: a live bar on a terminal, one line for each log step elsewhere, silence on other ranks."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vq.pipeline.reporter import Reporter

SHOWN = ("loss", "reconstruction", "perplexity", "test_psnr")


class TrainingProgress:
    """Shows how far a run is. Use as a context manager around the loop.

    Args:
        reporter: where to write; a quiet one on ranks other than 0.
        total: steps of the whole run.
        done: steps done before (a resumed run).
    """

    def __init__(self, reporter: Reporter, total: int, done: int = 0) -> None:
        self.reporter, self.total = reporter, total
        console = reporter.console
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=total, completed=done, figures="")

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.bar.stop()

    def advance(self) -> None:
        """One more step is done."""
        self.bar.advance(self.task)

    def report(self, line: Mapping[str, Any]) -> None:
        """Show the figures of a log step."""
        figures = "  ".join(f"{name} {line[name]:.4g}" for name in SHOWN if name in line)
        text = f"step {line['step']}/{self.total}  {figures}  {line['images_per_second']:.0f} samples/s"
        if self.reporter.console.is_terminal:
            self.bar.update(self.task, figures=figures)
            self.reporter.note(text)
        else:
            self.reporter.say(text)
