"""What a checkpoint holds besides the model's weights, and how a run is resumed from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vq.checkpoints import checkpoint
from vq.checkpoints.optimizer_state import check_optimizer_state
from vq.checkpoints.random_state import restore_random_state
from vq.checkpoints.step_names import step_of
from vqcore.errors import RunError, describe_error, shown

if TYPE_CHECKING:
    from vq.training.trainer import Trainer


def trainer_state(run: Trainer, random_states: list[dict[str, Any]]) -> dict[str, Any]:
    """Optimizer, losses that are trained, schedule, gradient scaler, time, random states."""
    scaler = run.accelerator.scaler
    state: dict[str, Any] = {"losses": run.opponents.state()} if run.objective.trained else {}
    return state | {
        "optimizer": run.optimizer.state_dict(),
        "optimizer_class": type(run.optimizer).__name__,
        "scheduler": run.learning_rate.state(run.step),
        "scaler": scaler.state_dict() if scaler else None,
        "seconds": run.seconds,
        "rng": random_states,
    }


def restore(run: Trainer, path: Path) -> None:
    """Load a checkpoint, weights included, in whatever number of processes.

    Raises:
        RunError: if it is damaged or belongs to another run.
    """
    if run.average:
        checkpoint.load_weights(path, run.model, name=checkpoint.TRAINED)
    checkpoint.load_weights(path, run.evaluated)
    state = checkpoint.load_trainer(path)
    try:
        _restore(run, path, state)
    except Exception as error:  # the content may be anything
        file = path / checkpoint.TRAINER
        cause = error if isinstance(error, RunError) else describe_error(error)
        raise RunError(f"{file}: not the state of this run: {cause}") from error


def _restore(run: Trainer, path: Path, state: dict[str, Any]) -> None:
    options = run.config.components["optimizer"].options
    check_optimizer_state(
        run.optimizer,
        state["optimizer"],
        state.get("optimizer_class"),
        {} if options is None else options.model_dump(),
    )
    run.optimizer.load_state_dict(state["optimizer"])
    step, seconds = state["step"], float(state["seconds"])
    if step != step_of(path.name) or not 0 <= seconds < math.inf:
        found = f"step {shown(step)} after {shown(seconds)} seconds"
        raise RunError(f"{found}, in the folder {path.name}")
    run.step, run.seconds = step, seconds
    run.objective.restore(step)
    run.opponents.restore(state.get("losses", {}))
    run.learning_rate.resume(step, state["scheduler"])
    if run.accelerator.scaler:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    rank = run.accelerator.process_index
    if rank < len(state["rng"]):  # a process that is new draws as it was seeded
        restore_random_state(state["rng"][rank])
