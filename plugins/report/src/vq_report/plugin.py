"""Registers the commands ``report`` and ``compare``, and draws the plots of a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from vq.models.autoencoder import VQModel
    from vqcore.plugin.protocols import CommandApp, TrainingRun

VQ_API = 1


@hookimpl
def vq_commands(app: CommandApp) -> None:
    """Add ``vq report`` and ``vq compare``."""
    from vq_report.commands.compare import compare
    from vq_report.commands.report import report

    app.command("report")(report)
    app.command("compare")(compare)


@hookimpl
def vq_step_end(run: TrainingRun, step: int) -> None:
    """Save samples/step-<step>.png every ``sample_every`` steps and after the last step."""
    if run.is_due(run.config.settings.sample_every):
        from vq.progress import working
        from vq_report import plots

        path = run.folder.path / "samples" / f"step-{step:08d}.png"
        model = cast("VQModel", run.evaluated)
        with working("plotting"):
            batch = plots.spread_samples(run.test_split, run.device)
            plots.save_reconstructions(path, model, batch, run.source.value_range)


@hookimpl
def vq_run_end(run: TrainingRun, status: str) -> None:
    """Save curves.png and codebook.png, unless the run failed."""
    if status != "failed":
        from vq.progress import working
        from vq.runs.folder import RunFolder
        from vq_report import plots

        folder, model = run.folder.path, cast("VQModel", run.evaluated)
        with working("plotting"):
            plots.save_curves(folder / "curves.png", RunFolder(folder).read_metrics())
            plots.save_codebook(folder / "codebook.png", model, run.test_split, run.device)
