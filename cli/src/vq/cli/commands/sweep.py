"""``vq sweep``: every combination of some settings, each with several seeds, as one run each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vq.cli.arguments import TrustPlugins, option
from vq.cli.console import say, talking
from vq.cli.settings import FLAGS, given_settings
from vq.config.config_file import parse_value
from vq.processes.launched import require_one
from vqcore.errors import UsageError, shown

if TYPE_CHECKING:
    from vq.config.resolved_config import ResolvedConfig
    from vq.sweeps.folder import SweepFolder
    from vq.sweeps.grid import Options, Point


def sweep(
    context: typer.Context,
    seeds: Annotated[str | None, option("Seeds of each combination.", metavar="0,1,2")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default one for each GPU.")
    ] = None,
    run_dir: Annotated[
        Path | None, option("The sweep's folder; sweeps/<time>-<names> by default.", metavar="DIR")
    ] = None,
    resume: Annotated[Path | None, option("Resume an earlier sweep.", metavar="DIR")] = None,
    dry_run: Annotated[
        bool, option("Check every config, list the runs and stop.", "--dry-run")
    ] = False,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Train every combination of settings, with several seeds.

    Prints mean and spread over the seeds. Takes every option of vq train; one with several values,
    as in --lr 1e-3,3e-3 or --set quantizer.commitment_weight=0.1,0.25, is swept. Lists in brackets
    are one value.
    """
    from vq.sweeps.folder import SweepFolder

    require_one("vq sweep", "it starts processes itself, see --jobs: leave the launcher out")
    if resume is not None:
        if context.args or seeds or run_dir:
            raise UsageError(
                "--resume continues a sweep with its own settings: leave out all but --jobs "
                "and --trust-plugins"
            )
        raise typer.Exit(_carry_out(SweepFolder.open(resume, trust_plugins=trust_plugins), jobs))
    if trust_plugins:
        raise UsageError("--trust-plugins: only with --resume, since nothing else is received")
    if run_dir is not None:
        SweepFolder.check_new(run_dir)
    points, configs = _runs(context, seeds)
    if dry_run:
        say(f"{len(points)} runs, all configs valid:")
        say("\n".join(point.name for point in points))
        return
    raise typer.Exit(_carry_out(SweepFolder.create(run_dir, points, configs), jobs))


def _runs(
    context: typer.Context, seeds: str | None
) -> tuple[Sequence[Point], Sequence[ResolvedConfig]]:
    """The combination and the resolved config of every run."""
    from vq.composition import base_values, compose
    from vq.sweeps.grid import points, read_axes, split_values

    for seed in split_values(seeds or ""):
        if seed and not isinstance(parse_value(seed), int):
            raise UsageError(f"--seeds {shown(seed)}: expected whole numbers, as in --seeds 0,1,2")
    parent: Any = context.parent
    train = parent.command.get_command(parent, "train")
    words = [*context.args, *(["--seed", seeds] if seeds else [])]
    if seeds and any(word.partition("=")[0] == "--seed" for word in context.args):
        raise UsageError("--seed and --seeds: choose one")
    found = points(read_axes(words, _options(train.params)))
    configs = []
    for point in found:
        with train.make_context("train", list(point.words), parent=parent) as given:
            _refuse(given.params)
            settings = given_settings(given)
            preset, file = given.params["preset"], given.params["config"]
            config, _ = compose(settings, base=base_values(preset, file, given=settings))
        configs.append(config)
    return found, configs


def _options(params: Sequence[Any]) -> Options:
    """How to parse the arguments of ``vq train``."""
    from vq.sweeps.grid import Options

    flags = [
        name
        for each in params
        if getattr(each, "is_flag", False)
        for name in (*each.opts, *each.secondary_opts)
    ]
    keys = {name: FLAGS[each.name] for each in params if each.name in FLAGS for name in each.opts}
    return Options(frozenset(flags), keys)


def _refuse(params: dict[str, Any]) -> None:
    for name in ("print_config", "resume", "run_dir", "dry_run"):
        if params.get(name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option}: not an option of a run in a sweep; see vq sweep --help")


def _carry_out(folder: SweepFolder, jobs: int | None) -> int:
    """Run the sweep and print the results; returns the exit code."""
    from vq.cli.tables import fitting_tables
    from vq.sweeps.execute import execute
    from vq.sweeps.summary import rows
    from vq.terminal import Terminal

    console = Terminal()
    done = sum(run.status == "done" for run in folder.runs)
    say(f"{len(folder.runs)} runs{f', {done} of them done' if done else ''}: {folder.path}")
    with talking():
        result = execute(folder, jobs, say)
    table = rows(result.groups)
    if any(run.status == "done" for run in result.runs):
        console.print(*fitting_tables(table, console.width, keep=table[0].index("runs")))
    again = f"vq sweep --resume {folder.path}"
    if result.signal is not None:
        say(f"interrupted; resume with: {again}")
        return 128 + result.signal
    left = sum(run.status != "done" for run in result.runs)
    if left:
        say(f"{left} of {len(result.runs)} runs are not done; try again with: {again}")
    return 1 if left else 0
