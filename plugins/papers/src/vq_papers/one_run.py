"""A run of an experiment, in a process of its own: trained, resumed or read, then measured."""

from __future__ import annotations

import os
import pkgutil
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vq.composition import base_values, compose, given_values
from vq.files import read_json, write_json
from vq.runs.folder import RunFolder
from vq_papers.experiment import Row
from vqcore.errors import RunError, VQError, describe_error

if TYPE_CHECKING:
    from collections.abc import MutableSequence

    from torch import Tensor

    from vq.runs.trained_run import TrainedRun
    from vqcore.plugin.protocols import TrainingRun

#: What was measured, in a run folder, beside the files of the measures.
OWN, MEASURED = Path("plugins", "papers"), "measured.json"
#: Of the jobs of this process and its siblings, how much is done, from 0 to 1.
_shares: MutableSequence[float] = []


@dataclass(frozen=True)
class Job:
    """A row with a seed.

    Attributes:
        number: among the jobs of the experiment.
        row, seed: what is trained.
        path: of the run folder.
        device: instead of the row's own; None leaves it.
    """

    number: int
    row: Row
    seed: int
    path: Path
    device: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: numbers, an error, or neither where it was interrupted.

    Attributes:
        numbers: what was measured.
        seconds: of training, those of earlier processes included.
        environment: of env.json.
    """

    numbers: Mapping[str, float] | None = None
    seconds: float = 0.0
    environment: Mapping[str, Any] | None = None
    error: str = ""


def prepare(shares: MutableSequence[float]) -> None:
    """Make this process one that does jobs: it gets signals from its parent, not the terminal."""
    global _shares
    _shares = shares
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: one that was killed cannot end its children."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def do(job: Job) -> Outcome:
    """Train a job's row unless that is done, and measure the run unless that is done too.

    A baseline is computed anew.
    """
    file = job.path / OWN / MEASURED
    try:
        if job.row.baseline:
            return Outcome(dict(pkgutil.resolve_name(job.row.baseline)(job.row.settings)))
        if (known := read_json(file)) is not None:
            return Outcome(**known)
        run = _trained(job)
        if run.status != "done":
            return Outcome()
        file.parent.mkdir(parents=True, exist_ok=True)
        numbers = dict(pkgutil.resolve_name(job.row.measure)(run))
        seconds, environment = run.metrics["seconds"], read_json(run.folder.env)
        outcome = Outcome(numbers, seconds, environment)
        write_json(file, asdict(outcome))
    except KeyboardInterrupt:
        return Outcome()
    except VQError as error:
        return Outcome(error=str(error))
    except Exception as error:  # the other jobs go on
        return Outcome(error=describe_error(error))
    return outcome


def _trained(job: Job) -> TrainedRun:
    import vq

    folder = RunFolder(job.path)
    if folder.is_done():
        run = vq.load_run(job.path, job.device)
        _check_length(run, job.row)
        return run
    row = job.row
    own = pkgutil.resolve_name(row.callbacks)() if row.callbacks else []
    callbacks = [_Share(job.number), *own]
    device = {} if job.device is None else {"device": job.device}
    if any(folder.checkpoints.glob("*/")):
        return vq.train(resume=job.path, settings=device, callbacks=callbacks)
    if folder.config.is_file():  # it was stopped before its first checkpoint
        shutil.rmtree(job.path)
    settings = {**row.settings, "seed": job.seed, **device}
    return vq.train(preset=row.preset, settings=settings, run_dir=job.path, callbacks=callbacks)


def _check_length(run: TrainedRun, row: Row) -> None:
    """Refuse a run that somebody resumed with another length.

    Raises:
        RunError: naming the folder.
    """
    base = base_values(row.preset)
    wanted, _ = compose(given_values({}, row.settings), base=base, check=False)
    lengths = [(each.max_steps, each.epochs) for each in (run.config.settings, wanted.settings)]
    if lengths[0] != lengths[1]:
        raise RunError(f"{run.folder.path} has another length than this row: remove it")


class _Share:
    """A callback that tells the parent process how far the run is."""

    def __init__(self, number: int) -> None:
        self.number, self.told = number, time.monotonic()

    def vq_step_end(self, run: TrainingRun, step: int, losses: Mapping[str, Tensor]) -> None:
        """Tell it, now and then."""
        if time.monotonic() - self.told > 0.2 and self.number < len(_shares):
            _shares[self.number] = step / max(run.total_steps, 1)
            self.told = time.monotonic()
