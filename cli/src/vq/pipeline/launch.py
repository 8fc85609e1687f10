"""From a plan to a finished run: what ``vq train`` does once the config is known to be valid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console

from vq.pipeline.config import Plan
from vq.pipeline.device import choose_threads
from vq.pipeline.reporter import Reporter
from vq.pipeline.run_folder import RunFolder
from vq.pipeline.tables import figures_table
from vq.pipeline.train import Run, execute
from vqcore.registry import Registry


def launch(
    plan: Plan, registry: Registry, plugins: list[dict[str, Any]], run_dir: Path | None, resume: Path | None
) -> int:
    """Train, report, and return the exit code.

    Args:
        plan: the resolved config.
        registry: where its components come from.
        plugins: what plugins.json records.
        run_dir: the folder of a new run, or None for ``runs/<time>-<names>``.
        resume: the folder of a run to go on with, or None.
    """
    reporter = Reporter(Console())
    run = Run(plan, registry, reporter)
    values = plan.config.batch_size * math.prod(run.source.shape)
    choose_threads(run.device, values, sum(p.numel() for p in run.model.parameters()))
    if resume is not None:
        folder = RunFolder.open(resume)
        run.restore(folder)
    else:
        folder = RunFolder.create(run_dir, plan.title())
    reporter.keep(folder.log)
    reporter.say(_headline(run))
    if run.source.credits:
        reporter.say(run.source.credits)
    if run.step >= run.total_steps and folder.is_done():
        reporter.say(f"{folder.path} is complete at step {run.step}: raise --epochs or --max-steps to go on")
        return 0
    status, figures, code = execute(run, folder, plugins, resumed=resume is not None)
    reporter.say(figures_table(figures))
    verb = "interrupted; go on with: vq train --resume" if status == "interrupted" else "run folder:"
    reporter.say(f"{verb} {folder.path}")
    return code


def _headline(run: Run) -> str:
    sides = " x ".join(str(n) for n in run.source.shape)
    tokens = " x ".join(str(n) for n in run.model.backbone.latent_shape) or "1"
    parameters = sum(p.numel() for p in run.model.parameters())
    return (
        f"{run.config.title()}: {len(run.train_split)} samples of {sides} ({len(run.test_split)} held out), "
        f"{tokens} tokens of {run.settings.codebook_size} codes, {parameters / 1e6:.2f} M parameters, {run.device}"
    )
