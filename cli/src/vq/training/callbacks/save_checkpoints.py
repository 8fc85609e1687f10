"""Checkpoints during training."""

from __future__ import annotations

from accelerate.utils import gather_object

from vq.checkpoints import checkpoint
from vq.checkpoints.random_state import random_state
from vq.checkpoints.trainer_state import trainer_state
from vq.training.distributed import run_on_main
from vq.training.trainer import Trainer


class SaveCheckpoints:
    """Saves every ``checkpoint_every`` steps, at the end, and before a signal stops the run.

    Every process calls it: a checkpoint holds the random state of each.
    """

    def vq_step_end(self, run: Trainer) -> None:
        """Save if a checkpoint is due."""
        if not (run.stop_signal or run.is_due(run.settings.checkpoint_every)):
            return
        state = trainer_state(run, gather_object([random_state()]))
        keep = run.settings.keep_checkpoints

        def save() -> None:
            checkpoint.save(run.folder.checkpoints, run.step, run.model, state, keep)
            run.folder.set_status("running", run.step)

        run_on_main(run.accelerator, save)
