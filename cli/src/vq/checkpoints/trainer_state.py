"""What a checkpoint holds besides the model's weights, and how a run is resumed from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vq.checkpoints import checkpoint
from vq.checkpoints.random_state import restore_random_state
from vqcore.errors import RunError
from vqcore.plugin.loader import describe_error

if TYPE_CHECKING:
    from vq.training.trainer import Trainer


def trainer_state(run: Trainer, random_states: list[dict[str, Any]]) -> dict[str, Any]:
    """Optimizer, schedule, gradient scaler, time, and the random state of every process."""
    scaler = run.accelerator.scaler
    return {
        "optimizer": run.optimizer.state_dict(),
        "scheduler": {"last_epoch": run.step},
        "scaler": scaler.state_dict() if scaler else None,
        "seconds": run.seconds,
        "rng": random_states,
    }


def restore(run: Trainer, path: Path) -> None:
    """Load a checkpoint, weights included, in whatever number of processes.

    Raises:
        RunError: if it is damaged or belongs to another run.
    """
    checkpoint.load_weights(path, run.model)
    rank = run.accelerator.process_index
    try:
        state = checkpoint.load_trainer(path)
        run.optimizer.load_state_dict(state["optimizer"])
        run.step, run.seconds = state["step"], state["seconds"]
        if run.accelerator.scaler:
            run.accelerator.scaler.load_state_dict(state["scaler"])
        if rank < len(state["rng"]):  # a process that is new draws as it was seeded
            restore_random_state(state["rng"][rank])
    except (KeyError, TypeError, ValueError) as error:
        file = path / checkpoint.TRAINER
        raise RunError(f"{file}: not the state of this run: {describe_error(error)}") from error
    run.set_learning_rate()
