"""From run folders to a report file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vq.runs.files import write_text
from vq_report.comparison import Comparison, compare
from vq_report.render import render
from vq_report.reported_run import ReportedRun
from vq_report.sections.codebook import codebook
from vq_report.sections.curves import curves
from vq_report.sections.figures import figures
from vq_report.sections.machine import machine
from vq_report.sections.patches import patches
from vq_report.sections.plane import plane
from vq_report.sections.reconstructions import reconstructions
from vq_report.sections.samples import samples
from vq_report.sections.settings import settings
from vq_report.sections.usage import usage
from vqcore.errors import SettingError
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.report_section import Block, Group, Section

NAME = "report.html"
#: What is in every report of ours, and so tells one from a user's own file.
MARK = '<meta name="generator" content="vq report">'
#: What stands between figures and settings, which come first, and what plugins show.
SECTIONS = (curves, reconstructions, usage, codebook, plane, patches, samples)


def write_report(
    paths: Sequence[Path],
    output: Path | None = None,
    device: str | None = None,
    warn: Callable[[str], None] = print,
) -> Path:
    """Write the report of one run, or of several side by side.

    Args:
        paths: the run folders.
        output: the file; ``report.html`` in the run folder by default, in the working directory for several runs.
        device: where models are looked at, instead of the config's.
        warn: told what a plugin could not show.

    Returns:
        The file.

    Raises:
        SettingError: if a path is no run folder, or the file is there and no report.
        RunError: if it cannot be written.
    """
    target = output or (paths[0] / NAME if len(paths) == 1 else Path(NAME))
    comparison = compare(paths)
    _check_free(target)
    runs = [ReportedRun(found, device, alone=len(paths) == 1) for found in comparison.runs]
    write_text(target, _page(runs, comparison, warn))
    return target


def _page(runs: Sequence[ReportedRun], comparison: Comparison, warn: Callable[[str], None]) -> str:
    sections = [figures(comparison), settings(runs, comparison), *(make(runs) for make in SECTIONS)]
    sections += [*_of_plugins(runs, warn), machine(runs)]
    one = runs[0] if len(runs) == 1 else None
    return render(
        sections,
        title=one.label if one else f"{len(runs)} runs",
        subtitle=f"{one.title}, {one.state}" if one else "",
        runs=runs,
        footer=f"Written by vq report on {time.strftime('%Y-%m-%d at %H:%M')}; this file needs no other.",
    )


def _of_plugins(runs: Sequence[ReportedRun], warn: Callable[[str], None]) -> list[Section]:
    """What ``vq_report`` hooks show; sections of one title stand together."""
    found: dict[str, list[tuple[ReportedRun, Section]]] = {}
    for run in runs:
        if run.registry is not None and run.config is not None:
            answers = HookCaller(run.registry, warn).call("vq_report", _shown, run=run)
            for section in [section for answer in answers for section in answer]:
                found.setdefault(section.title, []).append((run, section))
    return [_together(shown, several=len(runs) > 1) for shown in found.values()]


def _together(shown: Sequence[tuple[ReportedRun, Section]], *, several: bool) -> Section:
    first = shown[0][1]
    if not several:
        return Section(
            first.title, [block for _, section in shown for block in section.blocks], first.lead
        )
    groups: list[Block] = [Group(run.label, section.blocks) for run, section in shown]
    return Section(first.title, groups, first.lead)


def _shown(answer: Iterable[Any]) -> list[Section]:
    """A plugin's sections, tried out: what cannot be shown is that plugin's failure, not the report's."""
    sections = list(answer)
    for section in sections:
        if not isinstance(section, Section):
            raise TypeError(
                f"expected sections of vqcore.plugin.report_section, found {type(section).__name__}"
            )
    render(sections, title="", subtitle="", runs=[], footer="")
    return sections


def _check_free(path: Path) -> None:
    if path.is_dir():
        raise SettingError("--output", str(path), "a file, found a folder")
    if not path.parent.is_dir():
        raise SettingError(
            "--output", str(path), f"a folder that is there, and {path.parent} is not"
        )
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if MARK not in file.read(4096):
            raise SettingError(
                "--output", str(path), "a new file or an earlier report", "choose another name"
            )
