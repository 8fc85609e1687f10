"""From a config to a finished run: what ``vq train`` does once the config is known to be valid."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist
from rich.console import Console

from vq.cli.tables import figures_table
from vq.config.run_config import ResolvedConfig
from vq.device import choose_threads
from vq.interrupt import Interrupt
from vq.runs.environment import describe_environment
from vq.runs.files import read_json
from vq.runs.folder import RunFolder
from vq.training.distributed import make_accelerator, run_on_main
from vq.training.reporter import Reporter
from vq.training.trackers import check_trackers
from vq.training.trainer import Run
from vqcore.errors import RunError, VQError
from vqcore.plugin.registry import Registry


def launch(
    config: ResolvedConfig,
    registry: Registry,
    plugins: list[dict[str, Any]],
    run_dir: Path | None,
    resume: Path | None,
) -> int:
    """Train, report, and return the exit code.

    Args:
        config: the resolved config.
        registry: where its components come from.
        plugins: what plugins.json records.
        run_dir: the folder of a new run, or None for ``runs/<time>-<names>``.
        resume: the folder of a run to go on with, or None.
    """
    check_trackers(config.settings.trackers)
    accelerator = make_accelerator(config.settings.device, config.settings.precision)
    if not accelerator.is_main_process:
        logging.getLogger("vq").setLevel(logging.ERROR)  # what is wrong with the data is told once
    reporter = Reporter(Console(quiet=not accelerator.is_main_process))
    earlier = RunFolder.open(resume) if resume is not None else None
    known = read_json(earlier.data) if earlier else None
    run = Run(config, registry, reporter, accelerator, known)
    values = config.settings.batch_size * math.prod(run.source.shape)
    choose_threads(run.device, values, sum(p.numel() for p in run.model.parameters()))
    if earlier:
        folder = earlier
        run.restore(folder)
    else:
        folder = run_on_main(accelerator, lambda: RunFolder.create(run_dir, config.title()))
    code = _carry_out(run, folder, plugins, resumed=resume is not None)
    if (
        dist.is_initialized()
    ):  # not after an error: the others may be in an exchange that would be waited for
        dist.destroy_process_group()
    return code


def _carry_out(run: Run, folder: RunFolder, plugins: list[dict[str, Any]], *, resumed: bool) -> int:
    reporter = run.reporter
    if run.main:
        reporter.keep(folder.log)
    reporter.say(_headline(run))
    if run.source.credits:
        reporter.say(run.source.credits)
    if run_on_main(run.accelerator, lambda: run.step >= run.total_steps and folder.is_done()):
        reporter.say(
            f"{folder.path} is complete at step {run.step}: raise --epochs or --max-steps to go on"
        )
        return 0
    status, figures, code = execute(run, folder, plugins, resumed)
    reporter.say(figures_table(figures))
    verb = (
        "interrupted; go on with: vq train --resume" if status == "interrupted" else "run folder:"
    )
    reporter.say(f"{verb} {folder.path}")
    return code


def execute(
    run: Run, folder: RunFolder, plugins: list[dict[str, Any]], resumed: bool
) -> tuple[str, dict[str, Any], int]:
    """Carry a run out in its folder: status, figures and exit code. A failure is recorded in the folder, then raised.

    A mistake of the user's that shows only with the first batch leaves no folder behind.
    """
    first = run.step
    run_on_main(run.accelerator, lambda: _describe(run, folder, plugins))
    try:
        with Interrupt() as interrupt:
            status = run.train(folder, interrupt)
            figures = run.finish()
        run.end(status)
        return status, figures, interrupt.exit_code if status == "interrupted" else 0
    except BaseException as error:
        with contextlib.suppress(
            OSError, RunError
        ):  # the disk that failed the run may refuse this too
            run.end("failed")
        if (
            run.main
            and isinstance(error, VQError)
            and error.exit_code == 2
            and run.step == first
            and not resumed
        ):
            shutil.rmtree(folder.path, ignore_errors=True)
        elif run.main:
            with contextlib.suppress(RunError):
                folder.set_status("failed", run.step, error=f"{type(error).__name__}: {error}")
        raise


def _describe(run: Run, folder: RunFolder, plugins: list[dict[str, Any]]) -> None:
    """Write what a run is made of, before it starts."""
    folder.write_yaml(folder.config, run.config.located().dump())
    folder.write_json(folder.data, run.source.describe())
    folder.write_json(folder.plugins, plugins)
    folder.write_json(folder.env, describe_environment(run.device, run.accelerator.num_processes))
    folder.set_status("running", run.step)


def _headline(run: Run) -> str:
    sides = " x ".join(str(n) for n in run.source.shape)
    parameters = sum(p.numel() for p in run.model.parameters())
    processes = f", {n} processes" if (n := run.accelerator.num_processes) > 1 else ""
    return (
        f"{run.config.title()}: {len(run.train_split)} samples of {sides} ({len(run.test_split)} held out), "
        f"{run.model.describe_latents()}, {parameters / 1e6:.2f} M parameters, "
        f"{run.device}{processes}"
    )
