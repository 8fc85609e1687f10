"""Carries out the runs of a sweep, several at a time, each in its own process."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

from vq.config.config_file import read_config
from vq.files import writing
from vq.interrupt import SIGNALS, Interrupt
from vq.progress import Task, working
from vq.runs.folder_lock import locked
from vq.sweeps.folder import SweepFolder, SweepRun
from vq.sweeps.places import Places
from vq.sweeps.summary import write_summary

#: Seconds between two polls of the processes.
_PAUSE = 0.05
STOPPING = "stopping: the runs save and exit; Ctrl-C again ends them at once"
#: How far a run is, in a line of its log.
_STEP = re.compile(rb"step (\d+)/(\d+)")
#: Exit codes of a run that a signal ended, after saving or before.
_STOPPED = frozenset(code for number in SIGNALS for code in (128 + number, -number))


@dataclass
class _Started:
    run: SweepRun
    process: Popen[bytes]
    gpu: str | None
    task: Task
    shown: ExitStack


@dataclass(frozen=True)
class SweepResult:
    """A sweep, as far as it was carried out.

    Attributes:
        path: its folder.
        runs: every run with its settings, status and metrics.
        groups: for each combination of settings the mean and standard deviation over its seeds.
        signal: the number of the signal that interrupted it, else None.
    """

    path: Path
    runs: Sequence[SweepRun]
    groups: Sequence[Mapping[str, Any]]
    signal: int | None


def execute(folder: SweepFolder, jobs: int | None, report: Callable[[str], object]) -> SweepResult:
    """Do every run that is not done yet and sum them up. A failed run never stops the others.

    ``jobs`` of them run at a time, by default one for each GPU, which is all that it sees.
    A first signal is passed on to the processes, which save and exit. A second one kills them.
    ``report`` is called with a line of text for each run that ends, and where one is asked to.

    Raises:
        SettingError: if another process carries out the sweep.
    """
    with locked(folder.path, "--resume"), Interrupt(lambda: report(STOPPING)) as interrupt:
        folder.read_again()
        left = sum(run.status != "done" for run in folder.runs)
        with working("sweeping", left, "runs") as task:
            places = Places([_config(folder, run) for run in folder.runs], jobs)
            _execute(folder, places, interrupt, report, task)
    return SweepResult(folder.path, folder.runs, write_summary(folder), interrupt.number)


def _execute(
    folder: SweepFolder,
    places: Places,
    interrupt: Interrupt,
    report: Callable[[str], object],
    task: Task,
) -> None:
    waiting = [run for run in folder.runs if run.status != "done"]
    running: list[_Started] = []
    signalled = False
    try:
        while running or (waiting and interrupt.number is None):
            while waiting and len(running) < places.jobs and interrupt.number is None:
                running.append(_start(folder, waiting.pop(0), places))
            time.sleep(_PAUSE)
            for each in running:
                _follow(folder, each)
            task.parts = sum(each.task.share for each in running)
            if interrupt.number is not None and not signalled:
                signalled = True
                for each in running:
                    each.process.send_signal(interrupt.number)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                places.give_back(each.gpu)
                ended = _end(folder, each)
                done = sum(run.status in ("done", "failed") for run in folder.runs)
                if ended.status != "interrupted":
                    task.advance()
                report(f"[{done}/{len(folder.runs)}] {_sentence(ended, each)}")
    finally:
        for each in running:
            each.process.kill()
            each.shown.close()
            folder.record(each.run, "interrupted")


def _config(folder: SweepFolder, run: SweepRun) -> dict[str, Any]:
    """What a run starts from, empty where that is missing: training will say so."""
    file = folder.config(run)
    return read_config(file) if file.is_file() else {}


def _start(folder: SweepFolder, run: SweepRun, places: Places) -> _Started:
    command = [sys.executable, "-m", "vq", *folder.command(run)]
    # else Python imports modules from the working directory, which may be a received folder
    gpu = places.take(_config(folder, run))
    environment = {**os.environ, "PYTHONSAFEPATH": "1", **places.environment(gpu)}
    path = folder.log(run)
    with writing(path):
        path.unlink(missing_ok=True)
        log = path.open("xb")
    with log:
        # In its own session: the terminal sends Ctrl-C to this process alone, which passes it on.
        process = Popen(
            command,
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
            env=environment,
            start_new_session=True,
        )
    shown = ExitStack()
    task = shown.enter_context(working(f"{run.name}{_on(gpu)}", unit="steps", live=True))
    return _Started(folder.record(run, "running"), process, gpu, task, shown)


def _follow(folder: SweepFolder, started: _Started) -> None:
    """Note how far a run is, by the last lines that it printed."""
    with folder.log(started.run).open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 2**12))
        steps = _STEP.findall(log.read())
    if steps:
        started.task.done, started.task.total = map(int, steps[-1])


def _end(folder: SweepFolder, started: _Started) -> SweepRun:
    started.shown.close()
    code = started.process.returncode
    if code == 0:
        return folder.record(started.run, "done")
    if code in _STOPPED:
        return folder.record(started.run, "interrupted")
    return folder.record(started.run, "failed", _last_words(folder, started.run, code))


def _last_words(folder: SweepFolder, run: SweepRun, code: int) -> str:
    """The error message of a failed process."""
    lines = folder.log(run).read_text(encoding="utf-8", errors="replace").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        return "\n".join(lines[starts[-1] :]).removeprefix("error: ")
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended}: {lines[-1] if lines else 'it printed nothing'}"


def _sentence(run: SweepRun, started: _Started) -> str:
    where = _on(started.gpu)
    if run.status != "done":
        return f"{run.name}: {run.status}{where}{f': {run.error}' if run.error else ''}"
    found = run.metrics or {}
    named = {"psnr": "psnr {:.2f} dB, ", "accuracy": "accuracy {:.3f}, "}
    quality = "".join(text.format(found[name]) for name, text in named.items() if name in found)
    return f"{run.name}: {quality}{started.task.seconds:.0f} s{where}"


def _on(gpu: str | None) -> str:
    return "" if gpu is None else f" on GPU {gpu}"
