"""Snapshots of the codebooks during training."""

from __future__ import annotations

from vq.runs import history
from vq.training.trainer import Trainer


class RecordHistory:
    """Adds a snapshot to the run's history at each evaluation."""

    def vq_log(self, run: Trainer) -> None:
        """Record the codebooks if an evaluation was due."""
        if run.is_due(run.settings.eval_every):
            batch_size = run.settings.batch_size
            history.record(run.folder.path, run.step, run.evaluated, run.test_split, batch_size)
