"""Carries out the runs of a sweep, several at a time, each in its own process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

from vq.files import writing
from vq.interrupt import SIGNALS, Interrupt
from vq.runs.folder_lock import locked
from vq.sweeps.folder import SweepFolder, SweepRun
from vq.sweeps.summary import write_summary

#: Seconds between two polls of the processes.
_PAUSE = 0.05
#: Exit codes of a run that a signal ended, after saving or before.
_STOPPED = frozenset(code for number in SIGNALS for code in (128 + number, -number))


@dataclass
class _Started:
    run: SweepRun
    process: Popen[bytes]
    began: float


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


def execute(folder: SweepFolder, jobs: int, report: Callable[[str], object]) -> SweepResult:
    """Do every run that is not done yet and sum them up. A failed run never stops the others.

    A first signal is passed on to the processes, which save and exit. A second one kills them.
    ``report`` is called with a line of text for each run that ends.

    Raises:
        SettingError: if another process carries out the sweep.
    """
    with locked(folder.path, "--resume"), Interrupt() as interrupt:
        folder.read_again()
        _execute(folder, jobs, interrupt, report)
    return SweepResult(folder.path, folder.runs, write_summary(folder), interrupt.number)


def _execute(
    folder: SweepFolder, jobs: int, interrupt: Interrupt, report: Callable[[str], object]
) -> None:
    waiting = [run for run in folder.runs if run.status != "done"]
    running: list[_Started] = []
    signalled = False
    try:
        while running or (waiting and interrupt.number is None):
            while waiting and len(running) < jobs and interrupt.number is None:
                running.append(_start(folder, waiting.pop(0), jobs))
            time.sleep(_PAUSE)
            if interrupt.number is not None and not signalled:
                signalled = True
                for each in running:
                    each.process.send_signal(interrupt.number)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                ended = _end(folder, each)
                done = sum(run.status in ("done", "failed") for run in folder.runs)
                took = time.monotonic() - each.began
                report(f"[{done}/{len(folder.runs)}] {_sentence(ended, took)}")
    finally:
        for each in running:
            each.process.kill()
            folder.record(each.run, "interrupted")


def _start(folder: SweepFolder, run: SweepRun, jobs: int) -> _Started:
    command = [sys.executable, "-m", "vq", *folder.command(run)]
    # else Python imports modules from the working directory, which may be a received folder
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
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
    return _Started(folder.record(run, "running"), process, time.monotonic())


def _end(folder: SweepFolder, started: _Started) -> SweepRun:
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


def _sentence(run: SweepRun, seconds: float) -> str:
    if run.status != "done":
        return f"{run.name}: {run.status}{f': {run.error}' if run.error else ''}"
    psnr = (run.metrics or {}).get("psnr")
    quality = "" if psnr is None else f"psnr {psnr:.2f} dB, "
    return f"{run.name}: {quality}{seconds:.0f} s"
