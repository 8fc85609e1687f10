"""Checkpoints during training."""

from __future__ import annotations

from accelerate.utils import gather_object

from vq.checkpoints import checkpoint
from vq.checkpoints.random_state import random_state
from vq.checkpoints.trainer_state import trainer_state
from vq.processes.together import on_main
from vq.progress import working
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
        if run.average:
            run.average.settle()
        trained = run.model if run.average else None

        def save() -> None:
            folder = run.folder.checkpoints
            checkpoint.save(folder, run.step, run.evaluated, state, keep, trained)
            run.folder.set_status("running", run.step)

        with working("saving"):
            on_main(save)
