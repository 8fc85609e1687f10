"""Progress for people: a live bar on a terminal, one line for each log step elsewhere, silence on other ranks."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vq.training.reporter import Reporter

IN_LINE = ("loss", "reconstruction", "perplexity", "test_psnr")
ON_BAR = ("loss", "perplexity")  # what fits beside the bar on 80 columns


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
            BarColumn(bar_width=20),
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def advance(self) -> None:
        """One more step is done."""
        self.bar.advance(self.task)

    def report(self, line: Mapping[str, Any]) -> None:
        """Show the figures of a log step."""
        text = f"step {line['step']}/{self.total}  {_figures(line, IN_LINE)}  {line['images_per_second']:.0f} samples/s"
        if self.reporter.console.is_terminal:
            self.bar.update(self.task, figures=_figures(line, ON_BAR))
            self.reporter.note(text)
        else:
            self.reporter.say(text)


def _figures(line: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {line[name]:.4g}" for name in names if name in line)
