"""The training loop: a step, then the hooks, the vote to stop, the log line and the checkpoint."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Literal

from torch import Tensor

from vq.interrupt import Interrupt
from vq.processes.stopping import StopVote
from vq.processes.together import on_main
from vq.progress import working
from vq.training.callbacks.log_metrics import LogMetrics
from vq.training.callbacks.save_checkpoints import SaveCheckpoints
from vq.training.log_file import LOG
from vq.training.notices import notices
from vq.training.trainer import Trainer
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.protocols import TrainingRun

Status = Literal["done", "interrupted"]
STOPPING = "stopping: a checkpoint, then held-out metrics; Ctrl-C again stops at once"


def train(trainer: Trainer, hooks: HookCaller, interrupt: Interrupt) -> Status:
    """Train to the end of the run, or until any process receives a signal.

    Logging and saving come after every other callback and every plugin, so that a checkpoint
    holds what those did in its step: that is what makes resuming exact. On return ``interrupt``
    holds the signal that ended the run, if any.
    """
    for notice in notices(trainer):
        LOG.info(notice)
    run: TrainingRun = trainer  # what hooks see of it
    on_main(lambda: hooks.call("vq_run_start", run=run))
    log, save = LogMetrics(hooks), SaveCheckpoints()
    vote = StopVote()
    began = time.perf_counter() - trainer.seconds
    batches = trainer.batches()
    losses: dict[str, Tensor] = {}
    while trainer.step < trainer.total_steps and not trainer.stop_signal:
        with nullcontext() if losses else working("first step"):
            losses = trainer.train_step(next(batches))
        trainer.seconds = time.perf_counter() - began
        if log.is_due(trainer):
            trainer.accumulator.stop()  # the speed leaves out what follows
        hooks.call("vq_step_end", run=run, step=trainer.step, losses=losses)
        trainer.stop_signal = vote(interrupt.number or 0)
        if trainer.stop_signal and not interrupt.number:  # another process received the signal
            LOG.info(STOPPING)
        log.vq_step_end(trainer)
        save.vq_step_end(trainer)
        if trainer.accumulator.steps == 0:
            trainer.accumulator.restart()
    vote.close()
    interrupt.number = trainer.stop_signal or interrupt.number
    return "interrupted" if trainer.stop_signal else "done"
