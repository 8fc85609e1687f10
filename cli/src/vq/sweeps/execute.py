"""Carrying out the runs of a sweep, some at a time, each in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from subprocess import DEVNULL, STDOUT, Popen

from vq.interrupt import Interrupt
from vq.runs.files import writing
from vq.sweeps.folder import SweepFolder, SweepRun

#: Seconds between two looks at the processes.
_PAUSE = 0.05
#: Exit codes of a run that a signal ended: after saving, or before it could.
_STOPPED = frozenset(
    code for number in (signal.SIGINT, signal.SIGTERM) for code in (128 + number, -number)
)


@dataclass
class _Started:
    run: SweepRun
    process: Popen
    began: float


def execute(
    folder: SweepFolder, jobs: int, interrupt: Interrupt, say: Callable[[str], None]
) -> None:
    """Do every run that is not done yet. What becomes of one never stops another.

    A signal is passed on once to the processes, which save and end; a second one ends them at once.

    Args:
        folder: of the sweep.
        jobs: processes at a time.
        interrupt: entered.
        say: told of each run that ends.
    """
    waiting = [run for run in folder.runs if run.status != "done"]
    total, running = len(folder.runs), []
    told = False
    try:
        while running or (waiting and interrupt.number is None):
            while waiting and len(running) < jobs and interrupt.number is None:
                running.append(_start(folder, waiting.pop(0), jobs))
            time.sleep(_PAUSE)
            if interrupt.number is not None and not told:
                told = True
                for each in running:
                    each.process.send_signal(interrupt.number)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                ended = _end(folder, each)
                done = sum(run.status in ("done", "failed") for run in folder.runs)
                say(f"[{done}/{total}] {_sentence(ended, time.monotonic() - each.began)}")
    finally:
        for each in running:
            each.process.kill()
            folder.record(each.run, "interrupted")


def _start(folder: SweepFolder, run: SweepRun, jobs: int) -> _Started:
    command = [sys.executable, "-m", "vq", *folder.command(run)]
    environment = dict(os.environ)
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with writing(folder.log(run)), folder.log(run).open("wb") as log:
        # In a session of its own, Ctrl-C reaches this process alone, which passes it on once.
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
    """The message that a failed process ended with."""
    lines: Sequence[str] = (
        folder.log(run).read_text(encoding="utf-8", errors="replace").splitlines()
    )
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        return "\n".join(lines[starts[-1] :]).removeprefix("error: ")
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended}: {lines[-1] if lines else 'it printed nothing'}"


def _sentence(run: SweepRun, seconds: float) -> str:
    if run.status == "done":
        psnr = (run.figures or {}).get("psnr")
        return f"{run.name}: {f'psnr {psnr:.2f} dB, ' if psnr is not None else ''}{seconds:.0f} s"
    return f"{run.name}: {run.status}{f': {run.error}' if run.error else ''}"
