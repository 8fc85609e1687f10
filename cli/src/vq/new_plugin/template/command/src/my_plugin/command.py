"""Where a run was best."""

from typing import Annotated

from vq.cli.arguments import RunArgument, option
from vq.cli.console import say
from vq.runs.folder import RunFolder
from vqcore.errors import UsageError

Metric = Annotated[str, option("The metric, of which less is better.")]


def best_step(run: RunArgument, metric: Metric = "loss") -> None:
    """Print the step at which a metric of a run was lowest."""
    lines = [line for line in RunFolder.open(run).read_metrics() if metric in line]
    if not lines:
        raise UsageError(f"--metric = {metric!r}: expected one that {run} has")
    best = min(lines, key=lambda line: float(line[metric]))
    say(f"step {best['step']}: {metric} = {best[metric]:g}")
