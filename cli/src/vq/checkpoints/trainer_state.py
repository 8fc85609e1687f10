"""What a checkpoint holds of a run besides the model's weights, and how a run takes it up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vq.checkpoints import checkpoint
from vq.training.distributed import all_gather
from vqcore.errors import RunError
from vqcore.plugin.loader import describe

if TYPE_CHECKING:
    from vq.training.trainer import Run


def of_run(run: Run) -> dict[str, Any]:
    """Optimizer, schedule, scaler, time spent, and the random state of every process. All of them call it."""
    scaler = run.accelerator.scaler
    return {
        "optimizer": run.optimizer.state_dict(),
        "scheduler": {"last_epoch": run.scheduler.last_epoch},
        "scaler": scaler.state_dict() if scaler else None,
        "seconds": run.seconds,
        "rng": all_gather(run.accelerator, checkpoint.random_state()),
    }


def load_into(run: Run, path: Path) -> None:
    """Load a checkpoint, weights included, into a run that was built alike, in whatever number of processes.

    Raises:
        RunError: if it is damaged or belongs to another run.
    """
    checkpoint.load_weights(path, run.model)
    try:
        state = checkpoint.load_trainer(path)
        run.optimizer.load_state_dict(state["optimizer"])
        run.step, run.seconds = state["step"], state["seconds"]
        run.scheduler.last_epoch = state["scheduler"]["last_epoch"]
        if run.accelerator.scaler:
            run.accelerator.scaler.load_state_dict(state["scaler"])
        if run.accelerator.process_index < len(
            state["rng"]
        ):  # else as seeded: a process that was not there
            checkpoint.restore_random_state(state["rng"][run.accelerator.process_index])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path / checkpoint.TRAINER}: not the state of this run: {describe(error)}"
        ) from error
    for group, base in zip(run.optimizer.param_groups, run.scheduler.base_lrs, strict=True):
        group["lr"] = base * run.rate(run.step)
