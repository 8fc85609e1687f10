"""Processes that do the runs of an experiment, several at a time. Torch-free: they import it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from typing import Any

from vq.interrupt import Interrupt
from vq.progress import Task, in_words
from vq_papers.one_run import Job, Outcome, do, prepare

#: Seconds between two looks at the processes.
_PAUSE = 0.1
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def carry_out(
    jobs: Sequence[Job],
    processes: int,
    interrupt: Interrupt,
    report: Callable[[str], object],
    task: Task,
) -> dict[int, Outcome]:
    """Do jobs in so many processes, until all are done or a signal has stopped them.

    Returns:
        The outcomes of the jobs that came to one, by their numbers.
    """
    waiting, outcomes = deque(jobs), dict[int, Outcome]()
    with closing(_Workers(processes, len(jobs))) as workers:
        while workers.busy or (waiting and interrupt.number is None):
            while waiting and len(workers.busy) < processes and interrupt.number is None:
                workers.start(waiting.popleft())
            time.sleep(_PAUSE)
            if interrupt.number is not None:
                workers.stop(interrupt.number)
            for job, outcome in workers.ended():
                if outcome.error or outcome.numbers is not None:
                    outcomes[job.number] = outcome
                    task.advance()
                    report(f"[{len(outcomes)}/{len(jobs)}] {_sentence(job, outcome)}")
            task.parts = sum(workers.shares)
    return outcomes


def _sentence(job: Job, outcome: Outcome) -> str:
    which = f"{job.row.label}, seed {job.seed}"
    if outcome.error:
        return f"{which}: failed: {outcome.error}"
    return f"{which}: {in_words(outcome.seconds)}"


class _Workers:
    """The processes; one that has done a job does another, since importing torch takes seconds.

    Attributes:
        shares: of each job under way, how much is done, from 0 to 1.
        busy: those at work.
    """

    def __init__(self, processes: int, jobs: int) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        self._context = multiprocessing.get_context("spawn")
        self.shares: Any = self._context.Array("d", jobs, lock=False)
        self.busy: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._stopped = False

    def start(self, job: Job) -> None:
        """Begin a job, in a process of those that are free or a new one."""
        worker = self._idle.pop() if self._idle else _Worker(self._context, self.shares)
        worker.start(job)
        self.busy.append(worker)

    def stop(self, number: int) -> None:
        """Pass a signal on to those at work, once."""
        if not self._stopped:
            self._stopped = True
            for worker in self.busy:
                worker.signal(number)

    def ended(self) -> Iterator[tuple[Job, Outcome]]:
        """The jobs that have ended since the last call."""
        for worker in [each for each in self.busy if each.is_done]:
            self.busy.remove(worker)
            job, outcome = worker.job, worker.outcome()
            self.shares[job.number] = 0.0
            if worker.is_alive:
                self._idle.append(worker)
            elif not self._stopped:
                outcome = Outcome(error="its process was killed")
            yield job, outcome

    def close(self) -> None:
        """End all processes, whatever they do."""
        for worker in self.busy:
            worker.signal(KILL)
        for worker in (*self.busy, *self._idle):
            worker.close()


class _Worker:
    """A process that does jobs, one at a time, and imports torch once.

    Attributes:
        job: the latest one.
        is_alive: whether it can do another.
    """

    job: Job

    def __init__(self, context: Any, shares: Any) -> None:
        self._pool = ProcessPoolExecutor(1, context, prepare, (shares,))
        self._pid = self._pool.submit(os.getpid)
        self.is_alive = True

    def start(self, job: Job) -> None:
        """Begin a job."""
        self.job, self._future = job, self._pool.submit(do, job)

    @property
    def is_done(self) -> bool:
        """Whether the job has ended."""
        return self._future.done()

    def outcome(self) -> Outcome:
        """Of the job that has ended; without numbers and error where the process died."""
        try:
            return self._future.result()
        except BrokenProcessPool:
            self.is_alive = False
            return Outcome()

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        with suppress(BrokenProcessPool, ProcessLookupError):
            os.kill(self._pid.result(), number)

    def close(self) -> None:
        """End the process, once its job has ended."""
        self._pool.shutdown()
