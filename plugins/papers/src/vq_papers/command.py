"""``vq reproduce``: the experiments of the papers, run again."""

from __future__ import annotations

import os
import pkgutil
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vq.cli.arguments import argument, option
from vq.cli.console import say, talking
from vq.processes.launched import require_one
from vqcore.errors import SettingError, UsageError, did_you_mean, shown

if TYPE_CHECKING:
    from vq_papers.execute import Request
    from vq_papers.experiment import Experiment, Scale


def _names() -> list[tuple[str, str]]:
    """The experiments for completion."""
    from vq_papers.experiments import EXPERIMENTS

    return [(each.name, each.title) for each in EXPERIMENTS]


def reproduce(
    names: Annotated[
        list[str], argument("Experiments, or all; see --list.", "NAME...", _names)
    ] = [],  # noqa: B006 - typer copies it
    list_them: Annotated[bool, option("List the experiments and stop.", "--list")] = False,
    quick: Annotated[
        bool, option("Minutes on two cores, offline; the default.", "--quick")
    ] = False,
    medium: Annotated[bool, option("About an hour each on two cores.", "--medium")] = False,
    full: Annotated[bool, option("The paper's own settings.", "--full")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds; by default the experiment's.")
    ] = None,
    data: Annotated[
        Path | None,
        option("Folder of MNIST, Fashion-MNIST and CIFAR-10; else small sets.", metavar="ROOT"),
    ] = None,
    out: Annotated[Path, option("Where results and runs go.", metavar="DIR")] = Path("reproduced"),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default one for each core.")
    ] = None,
    device: Annotated[str | None, option("Device; by default a GPU if there is one.")] = None,
) -> None:
    """Run experiments of the papers again, and show their numbers beside the paper's.

    The runs are ordinary run folders. Run the same command again to continue after an interruption.
    Nothing is downloaded.
    """
    from vq_papers.execute import Request
    from vq_papers.experiment import Setup

    require_one("vq reproduce", "it starts processes itself, see --jobs: leave the launcher out")
    if list_them:
        _list()
        return
    chosen = _chosen(names)
    if data is not None and not data.is_dir():
        raise SettingError("--data", str(data), "a folder")
    scale = _scale(quick=quick, medium=medium, full=full)
    setup = Setup(scale=scale, data=None if data is None else data.resolve())
    if data is None and scale != "quick":
        say("without --data, scikit-learn's digits and photos stand in for MNIST and CIFAR-10")
    codes = [
        _carry_out(
            Request(
                experiment=each,
                setup=setup,
                seeds=seeds or each.seeds[scale],
                folder=out / f"{each.name}-{scale}",
                jobs=jobs or _default_jobs(device),
                device=device,
                command=_command(each, scale, seeds, data is not None),
            )
        )
        for each in chosen
    ]
    raise typer.Exit(max(codes, default=0))


def _list() -> None:
    from vq.cli.tables import fitting_tables
    from vq.terminal import Terminal
    from vq_papers.experiment import PAPERS
    from vq_papers.experiments import EXPERIMENTS

    rows = [["experiment", "paper", "what it shows"]]
    for each in EXPERIMENTS:
        rows.append([each.name, f"{PAPERS[each.paper]}, {each.place}", each.title])
    console = Terminal()
    console.print(*fitting_tables(rows, console.width))


def _chosen(names: Sequence[str]) -> list[Experiment]:
    from vq_papers.experiments import EXPERIMENTS

    known = {each.name: each for each in EXPERIMENTS}
    if not names:
        raise UsageError(f"expected names of experiments, or all: {', '.join(known)}")
    if list(names) == ["all"]:
        return list(EXPERIMENTS)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"expected {', '.join(known)}, or all"
            raise UsageError(f"{shown(name)}: no experiment; {hint}")
    return [known[name] for name in dict.fromkeys(names)]


def _scale(*, quick: bool, medium: bool, full: bool) -> Scale:
    flags: dict[Scale, bool] = {"quick": quick, "medium": medium, "full": full}
    given = [scale for scale, chosen in flags.items() if chosen]
    if len(given) > 1:
        raise UsageError("--quick, --medium and --full: choose one")
    return given[0] if given else "quick"


def _default_jobs(device: str | None) -> int:
    on_gpu = device not in (None, "cpu") or shutil.which("nvidia-smi") is not None
    return 1 if on_gpu and device != "cpu" else os.cpu_count() or 1


def _command(experiment: Experiment, scale: Scale, seeds: int | None, data: bool) -> str:
    words = ["vq reproduce", experiment.name, f"--{scale}"]
    words += ["--data DATA"] * data
    words += [f"--seeds {seeds}"] * (seeds is not None)
    return " ".join(words)


def _carry_out(request: Request) -> int:
    """Run an experiment, draw its figures and print its table; returns the exit code."""
    from vq.cli.tables import fitting_tables
    from vq.terminal import Terminal
    from vq_papers.execute import execute
    from vq_papers.results import FILE
    from vq_papers.tables import table

    with talking():
        results, signal, failed = execute(request, say)
        if signal is None and not failed:
            for figure in request.experiment.figures:
                pkgutil.resolve_name(figure)(results, request.folder)
    console = Terminal()
    if any(row.runs for row in results.rows):
        console.print(*fitting_tables(table(results, request.experiment.columns), console.width))
    say(f"results: {request.folder / FILE}")
    if signal is not None:
        say("interrupted; the same command continues")
        raise typer.Exit(128 + signal)
    if failed:
        say(f"{failed} runs failed; the same command tries them again")
    return 1 if failed else 0
