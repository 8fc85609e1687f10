"""Registers the commands ``prior``, ``sample`` and ``probe``; reports the prior of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from typer import Typer

    from vqcore.plugin.protocols import ReportedRun
    from vqcore.plugin.report_section import Section

VQ_API = 1


@hookimpl
def vq_commands(app: Typer) -> None:
    """Add ``vq prior``, ``vq sample`` and ``vq probe``."""
    from vq_prior.commands import prior, probe, sample

    for command in (prior, sample, probe):
        app.command(command.__name__)(command)


@hookimpl
def vq_report(run: ReportedRun) -> list[Section]:
    """The prior's metrics, its training curves, and the images sampled from it."""
    from vq_prior.report_section import report_section

    return [report_section(run)]
