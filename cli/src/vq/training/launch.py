"""From a resolved config to a finished run: what ``vq train`` and the Python API call."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator

from vq.checkpoints import checkpoint
from vq.checkpoints.trainer_state import restore
from vq.config.config_file import read_config
from vq.config.resolved_config import ResolvedConfig
from vq.device import choose_threads
from vq.evaluation.metrics_table import metrics_text
from vq.evaluation.perceptual import check_weights
from vq.files import read_json, write_json, write_yaml
from vq.float32 import float32_products
from vq.interrupt import Interrupt
from vq.memory import memory_in_words
from vq.models.autoencoder import VQModel
from vq.processes.peers import lost_peers_in_words
from vq.processes.together import on_main
from vq.runs import history
from vq.runs.folder import RunFolder
from vq.runs.folder_lock import locked
from vq.runs.plugin_rows import plugin_rows
from vq.runs.provenance import describe_environment
from vq.runs.trained_run import read_sample_spec
from vq.runs.trust import sign
from vq.training import ending
from vq.training.callbacks.collapse_warning import CollapseWarning
from vq.training.callbacks.record_history import RecordHistory
from vq.training.callbacks.spike_warning import SpikeWarning
from vq.training.callbacks.trackers import Trackers, check_trackers
from vq.training.distributed import make_accelerator
from vq.training.init_source import open_init_source
from vq.training.log_file import LOG, log_file, log_level
from vq.training.loop import STOPPING, Status, train
from vq.training.notices import introduce
from vq.training.skipped import described
from vq.training.trainer import Trainer
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Registry


@dataclass(frozen=True)
class Finished:
    """A run that ended without an error.

    Attributes:
        status: ``done``, or ``interrupted`` by a signal after saving.
        folder: the run folder.
        metrics: what summary.json holds.
        model: in eval mode, on ``device``.
        signal: the number of the signal that interrupted the run, else None.
    """

    status: Status
    folder: RunFolder
    metrics: dict[str, Any]
    model: VQModel
    device: torch.device
    signal: int | None = None


def launch(
    config: ResolvedConfig,
    registry: Registry,
    *,
    run_dir: Path | None = None,
    resume: Path | None = None,
    callbacks: Sequence[object] = (),
) -> Finished:
    """Train a run in a new folder, or resume one. Under a launcher every process calls it.

    Args:
        config: the resolved config.
        registry: where its components come from.
        run_dir: the folder of a new run; None chooses ``runs/<time>-<names>``.
        resume: the folder of the run to resume, instead of a new one.
        callbacks: objects with methods named like life-cycle hooks; called in this order, by the
            main process alone.

    Raises:
        SettingError, UsageError, ComponentError: if the config does not fit the data, the model or
            this machine, or a callback's method does not fit its hook. A mistake that shows with
            the first batch leaves no folder behind.
        RunError: if the run fails; status.json records it.
        OtherProcessError: on the other processes, if the main one failed.
    """
    settings = config.settings
    check_trackers(settings.trackers)
    check_weights({"eval_lpips": settings.eval_lpips, "eval_fid": settings.eval_fid})
    with memory_in_words(), lost_peers_in_words():
        accelerator = make_accelerator(settings.device, settings.precision)
        hooks = _hooks(registry, callbacks, main=accelerator.is_main_process)
        with float32_products(accelerator.device, settings.precision):
            finished = _launch(config, registry, accelerator, hooks, run_dir, resume)
    if dist.is_initialized():  # after an error, the others may still wait in a collective
        dist.destroy_process_group()
    return finished


def _launch(
    config: ResolvedConfig,
    registry: Registry,
    accelerator: Accelerator,
    hooks: HookCaller,
    run_dir: Path | None,
    resume: Path | None,
) -> Finished:
    """Make the trainer and the folder, or restore them, and train."""
    level = min(logging.INFO, LOG.getEffectiveLevel())  # --debug
    level = level if accelerator.is_main_process else logging.ERROR
    with log_level(level), contextlib.ExitStack() as locks:
        earlier = RunFolder.open(resume) if resume is not None else None
        if earlier:
            on_main(lambda: _take_over(earlier, locks))
        recorded = _recorded(earlier) if earlier else None
        begins = earlier is None or not checkpoint.exists(earlier.checkpoints)
        source = config.settings.init_from if begins else None
        initial = open_init_source(source) if source else None
        trainer = Trainer(config, registry, accelerator, recorded, initial)
        values = config.settings.batch_size * math.prod(trainer.source.shape)
        choose_threads(trainer.device, values, trainer.model.parameter_count)
        if earlier:
            trainer.folder = earlier
            _restore(trainer)
        else:
            title = config.title()
            trainer.folder = on_main(lambda: RunFolder.create(run_dir, title))
            created = locked(trainer.folder.path, "--run-dir")
            on_main(lambda: locks.enter_context(created))
        with log_file(trainer.folder.log):
            return _finish(trainer, registry, hooks, resumed=earlier is not None)


def _take_over(folder: RunFolder, locks: contextlib.ExitStack) -> None:
    """Lock the folder of an earlier run, and check and tidy it up."""
    locks.enter_context(locked(folder.path, "--resume"))
    folder.check_links()
    folder.warn_of_another_host()
    folder.remove_leftovers()


def _recorded(folder: RunFolder) -> dict[str, Any] | None:
    """What data.json of an earlier run records; None where it was killed before writing one.

    Raises:
        UsageError: if the file is damaged.
    """
    if not os.path.lexists(folder.data):
        return None
    read_sample_spec(folder)
    return read_json(folder.data)


def _restore(trainer: Trainer) -> None:
    """Load the latest checkpoint, and drop what was logged after it."""
    folder = trainer.folder
    if checkpoint.exists(folder.checkpoints):
        restore(trainer, checkpoint.latest(folder.checkpoints))
    else:
        LOG.info(f"{folder.path} has no checkpoint yet: training starts again")
    on_main(lambda: folder.rewind_metrics(trainer.step))
    on_main(lambda: history.rewind(folder.path, trainer.step))


def _finish(trainer: Trainer, registry: Registry, hooks: HookCaller, *, resumed: bool) -> Finished:
    """Train what is left, and log how the run started and ended."""
    folder = trainer.folder
    introduce(trainer)
    at_end = trainer.step >= trainer.total_steps
    if on_main(lambda: at_end and folder.is_done()):
        fix = "raise --epochs or --max-steps to train further"
        LOG.info(f"{folder.path} is complete at step {trainer.step}: {fix}")
        metrics = read_json(folder.summary) or {}
        return Finished("done", folder, metrics, trainer.evaluated.eval(), trainer.device)
    finished = _train(trainer, registry, hooks, resumed=resumed)
    LOG.info(f"held-out metrics after step {trainer.step}:{metrics_text(finished.metrics)}")
    if finished.status == "interrupted":
        LOG.info(f"interrupted; resume with: vq train --resume {folder.path}")
    else:
        LOG.info(f"run folder: {folder.path}")
    return finished


def _train(trainer: Trainer, registry: Registry, hooks: HookCaller, *, resumed: bool) -> Finished:
    """Train, and record in the folder how the run ended."""
    first, folder = trainer.step, trainer.folder
    again = f"vq train --resume {folder.path} continues the run"
    on_main(lambda: _describe(trainer, registry))
    try:
        with (
            Interrupt(lambda: LOG.info(STOPPING)) as interrupt,
            memory_in_words(),
            lost_peers_in_words(again),
        ):
            status = train(trainer, hooks, interrupt)
            metrics = ending.sum_up(trainer)
            on_main(lambda: ending.end(trainer, hooks, status))
    except BaseException as error:
        removes_if_refused = not resumed and trainer.step == first
        ending.fail(trainer, hooks, error, again, removes_if_refused=removes_if_refused)
        raise
    signal = interrupt.number if status == "interrupted" else None
    return Finished(status, folder, metrics, trainer.evaluated.eval(), trainer.device, signal)


def _hooks(registry: Registry, callbacks: Sequence[object], *, main: bool) -> HookCaller:
    """Our callbacks, the given ones and the plugins; none on other processes."""
    ours = (Trackers(), RecordHistory(), CollapseWarning(), SpikeWarning())
    hooks = HookCaller(registry, LOG.warning, [*ours, *callbacks])  # every process refuses the same
    return hooks if main else HookCaller(None, LOG.warning)


def _describe(trainer: Trainer, registry: Registry) -> None:
    """Write what the run consists of, before its first step."""
    folder = trainer.folder
    environment = describe_environment(trainer.device, trainer.accelerator.num_processes)
    write_yaml(folder.config, trainer.config.located().dump())
    sign(folder.path, read_config(folder.config))
    write_json(folder.data, described(trainer))
    write_json(folder.plugins, plugin_rows(registry))
    write_json(folder.env, environment)
    if trainer.taken:
        write_json(folder.init, trainer.taken.dump())
    folder.set_status("running", trainer.step)
