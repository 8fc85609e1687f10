"""From an experiment to its results: the runs that are left to do, then what all have measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.files import read_json, write_json
from vq.interrupt import Interrupt
from vq.progress import working
from vq.runs.folder_lock import locked
from vq_papers.experiment import Experiment, Row, Setup
from vq_papers.one_run import Job, Outcome
from vq_papers.results import FILE, Results, RowResult, RunResult
from vq_papers.workers import carry_out
from vqcore.errors import SettingError

#: What stands for the user's folder of data in files that others read.
DATA = "DATA"
#: The settings of the rows, in the folder of an experiment.
ROWS = "rows.json"
STOPPING = "stopping: the runs save and exit; Ctrl-C again ends them at once"


@dataclass(frozen=True)
class Request:
    """What is asked of an experiment.

    Attributes:
        experiment, setup: what is trained.
        seeds: so many, from 0.
        folder: of the experiment.
        jobs: processes at a time.
        device: instead of the rows' own; None leaves it.
        command: that asks for it, for the results.
    """

    experiment: Experiment
    setup: Setup
    seeds: int
    folder: Path
    jobs: int
    device: str | None
    command: str


def execute(request: Request, report: Callable[[str], object]) -> tuple[Results, int | None, int]:
    """Do every run that is not done yet; what is done stays and is not done again.

    Returns:
        The results so far; the number of the signal that interrupted it, else None; and how many
        runs failed.

    Raises:
        SettingError: if the folder holds runs of other settings, or another process uses it.
    """
    folder = request.folder
    rows = request.experiment.rows(request.setup)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "--out"), Interrupt(lambda: report(STOPPING)) as interrupt:
        _check_rows(folder, rows)
        seeds = range(request.seeds)
        pairs = enumerate((s, row) for s in seeds for row in rows if s == 0 or not row.baseline)
        jobs = [
            Job(number, row, seed, folder / "runs" / _run_name(row, seed), request.device)
            for number, (seed, row) in pairs
        ]
        text = f"reproducing {request.experiment.name}"
        with working(text, len(jobs), "runs") as task:
            outcomes = carry_out(jobs, request.jobs, interrupt, report, task)
    results = _results(request, rows, jobs, outcomes)
    results.save(folder / FILE)
    return results, interrupt.number, sum(bool(each.error) for each in outcomes.values())


def _check_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Refuse a folder whose runs have other settings, and note those of a new one."""
    if len({_slug(row.label) for row in rows}) < len(rows):
        raise ValueError("two rows of an experiment have the same label")
    wanted = {row.label: {"preset": row.preset, **row.settings} for row in rows}
    file = folder / ROWS
    known = read_json(file)
    if known is None:
        write_json(file, wanted)
    elif known != wanted:
        changed = next(key for key in {**known, **wanted} if known.get(key) != wanted.get(key))
        expected = f"a folder of runs with the same settings, and those of {changed!r} differ"
        raise SettingError("--out", str(folder), expected, "choose another, or remove it")


def _results(
    request: Request, rows: Sequence[Row], jobs: Sequence[Job], outcomes: dict[int, Outcome]
) -> Results:
    found = []
    for row in rows:
        done = [(j, outcomes[j.number]) for j in jobs if j.row is row and j.number in outcomes]
        runs = [
            RunResult(job.seed, _folder(job), outcome.numbers, outcome.seconds)
            for job, outcome in done
            if outcome.numbers is not None
        ]
        settings = {key: _without_data(value, request) for key, value in row.settings.items()}
        found.append(RowResult(row.label, {"preset": row.preset, **settings}, row.published, runs))
    machine = next((each.environment for each in outcomes.values() if each.environment), {})
    return Results(request.experiment.name, request.setup.scale, request.command, machine, found)


def _folder(job: Job) -> str:
    """Of the run, below that of the experiment."""
    return "" if job.row.baseline else f"runs/{job.path.name}"


def _without_data(value: Any, request: Request) -> Any:
    """A setting, without the place of the user's data."""
    if isinstance(value, dict):
        return {key: _without_data(each, request) for key, each in value.items()}
    if isinstance(value, str) and request.setup.data is not None:
        return value.replace(str(request.setup.data), DATA)
    return value


def _run_name(row: Row, seed: int) -> str:
    return f"{_slug(row.label)}-seed{seed}"


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")
