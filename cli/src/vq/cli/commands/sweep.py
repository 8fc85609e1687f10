"""``vq sweep``: every combination of some settings, each with several seeds, as one run of ``vq train`` each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vq.cli.settings import FLAGS, base_settings, given_settings
from vq.config.plugin_files import plugin_files, registry_for
from vqcore.errors import UsageError


def sweep(
    context: typer.Context,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds of each combination.", metavar="0,1,2")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="The sweep's folder; sweeps/<time>-<names> by default.", metavar="DIR"),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an earlier sweep.", metavar="DIR")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every config, list the runs and stop.")
    ] = False,
) -> None:
    """Train every combination of settings, each with several seeds, and tabulate mean and spread.

    Takes every option of vq train; one with several values, as in --lr 1e-3,3e-3 or
    --set quantizer.commitment_weight=0.1,0.25, is swept. Lists in brackets are one value.
    """
    from vq.sweeps.folder import SweepFolder

    if resume is not None:
        if context.args or seeds or run_dir:
            raise UsageError(
                "--resume goes on with the runs that the sweep was made of: leave out all but --jobs"
            )
        raise typer.Exit(_carry_out(SweepFolder.open(resume), jobs))
    if run_dir is not None:
        SweepFolder.check_new(run_dir)
    runs, configs, title = _runs(context, seeds)
    if dry_run:
        print(f"{len(runs)} runs, all configs valid:")
        print("\n".join(run.name for run in runs))
        return
    raise typer.Exit(_carry_out(SweepFolder.create(run_dir, title, runs, configs), jobs))


def _runs(context: typer.Context, seeds: str | None) -> tuple[list[Any], list[dict[str, Any]], str]:
    """Every run with its resolved config, and what the sweep is about."""
    from vq.config.run_config import merge, resolve_config
    from vq.sweeps.folder import SweepRun
    from vq.sweeps.grid import points, read_axes

    train = context.parent.command.get_command(context.parent, "train")
    words = [*context.args, *(["--seed", seeds] if seeds else [])]
    if seeds and any(word.partition("=")[0] == "--seed" for word in context.args):
        raise UsageError("--seed and --seeds: choose one")
    found = points(read_axes(words, _options(train.params)))
    runs, configs, title = [], [], ""
    for point in found:
        with train.make_context("train", list(point.words), parent=context.parent) as given:
            _refuse(given.params)
            values = merge(base_settings(given), given_settings(given))
        config = resolve_config(values, registry_for(plugin_files(values)))
        runs.append(SweepRun(point.name, point.settings, point.seed))
        configs.append(config.located().dump())
        title = title or config.title()
    return runs, configs, title


def _options(params: Sequence[Any]) -> Any:
    """What the words of ``vq train`` are read by."""
    from vq.sweeps.grid import Options

    flags = [
        name
        for each in params
        if getattr(each, "is_flag", False)
        for name in (*each.opts, *each.secondary_opts)
    ]
    keys = {name: FLAGS[each.name] for each in params if each.name in FLAGS for name in each.opts}
    return Options(
        frozenset(flags),
        frozenset(("--config", "--plugin-file")),
        {**keys, "--regularizer": "regularizers"},
    )


def _refuse(params: dict[str, Any]) -> None:
    for name in ("print_config", "resume", "run_dir", "dry_run"):
        if params.get(name):
            raise UsageError(
                f"--{name.replace('_', '-')}: not an option of a single run here; see vq sweep --help"
            )


def _carry_out(folder: Any, jobs: int) -> int:
    """Do the runs, write and print what came out; the exit code."""
    from rich.console import Console
    from rich.markup import escape

    from vq.cli.tables import fitting_tables
    from vq.interrupt import Interrupt
    from vq.sweeps.execute import execute
    from vq.sweeps.summary import rows, write_summary

    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    done = sum(run.status == "done" for run in folder.runs)
    say(f"{len(folder.runs)} runs{f', {done} of them done' if done else ''}: {folder.path}")
    with Interrupt() as interrupt:
        execute(folder, jobs, interrupt, say)
    table = rows(write_summary(folder))
    cells = [list(map(escape, row)) for row in table]  # a list such as [a,b] is no markup
    if any(run.status == "done" for run in folder.runs):
        console.print(*fitting_tables(cells, console.width, keep=table[0].index("runs")))
    if interrupt.number is not None:
        say(f"interrupted; go on with: vq sweep --resume {folder.path}")
        return interrupt.exit_code
    left = [run for run in folder.runs if run.status != "done"]
    if left:
        say(
            f"{len(left)} of {len(folder.runs)} runs are not done; try again with: vq sweep --resume {folder.path}"
        )
    return 1 if left else 0
