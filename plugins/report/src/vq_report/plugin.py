"""Registers the commands ``report`` and ``compare``, and draws the plots of a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from vq.models.autoencoder import VQModel
    from vqcore.plugin.protocols import CommandApp, TrainingRun

VQ_API = 1
VQ_WRITES = ("*.png", "samples/*.png")


@hookimpl
def vq_commands(app: CommandApp) -> None:
    """Add ``vq report`` and ``vq compare``."""
    from vq_report.commands.compare import compare
    from vq_report.commands.report import report

    app.command("report")(report)
    app.command("compare")(compare)


@hookimpl
def vq_run_start(run: TrainingRun) -> None:
    """Save the picture of epoch 0, before the first step, if ``sample_epochs`` has it."""
    if run.step == 0 and 0 in run.config.settings.sample_epochs:
        _save_samples(run, 0)


@hookimpl
def vq_step_end(run: TrainingRun, step: int) -> None:
    """Save samples/step-<step>.png when ``sample_every`` or ``sample_epochs`` asks for one.

    There is always one after the last step.
    """
    settings = run.config.settings
    passes, rest = divmod(step, run.steps_per_epoch)
    epoch = passes if rest == 0 and passes in settings.sample_epochs else None
    by_epochs_alone = settings.sample_epochs and settings.sample_every is None
    every = run.total_steps if by_epochs_alone else settings.sample_every
    if epoch is not None or run.is_due(every):
        _save_samples(run, epoch)


def _save_samples(run: TrainingRun, epoch: int | None) -> None:
    model = cast("VQModel", run.evaluated)
    if model.classifies:  # there are no reconstructions
        return
    from vq.checkpoints.step_names import picture_name
    from vq.progress import working
    from vq_report import plots

    path = run.folder.path / "samples" / f"{picture_name(run.step, epoch)}.png"
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
