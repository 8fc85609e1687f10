"""Writes the report of runs to an HTML file."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vq.files import write_text
from vq.progress import working
from vq.runs.trained_run import RunLike
from vq_report.comparison import Comparison, compare, run_paths
from vq_report.page.render import Page
from vq_report.reported_run import ReportedRun, Unavailable
from vq_report.sections import codebook, codebook_map, machine, patches, reconstructions, usage
from vq_report.sections.curves import curves
from vq_report.sections.metrics import metrics
from vq_report.sections.settings import settings
from vqcore.errors import SettingError, describe_error
from vqcore.plugin import protocols
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.report_section import Block, Group, Section, Text

_log = logging.getLogger("vq.report")
NAME = "report.html"
#: Every report of ours contains this; a user's own file does not.
MARK = '<meta name="generator" content="vq report">'
#: Title and lead of a section, and the function that gives the blocks of one run.
RunSection = tuple[str, str, Callable[[ReportedRun], Sequence[Block]]]
#: The sections between those that compare runs, which come first, and those of plugins.
SECTIONS: Sequence[RunSection] = (
    ("Reconstructions over training", reconstructions.LEAD, reconstructions.blocks),
    ("Codebook usage", "", usage.blocks),
    ("The codebook over training", codebook.LEAD, codebook.blocks),
    ("Codes and latents", codebook_map.LEAD, codebook_map.blocks),
    ("What the codes stand for", patches.LEAD, patches.blocks),
)
LAST: RunSection = ("Status, environment, plugins", "", machine.blocks)


def write_report(
    runs: RunLike | Sequence[RunLike],
    output: str | Path | None = None,
    device: str | None = None,
    warn: Callable[[str], None] = warnings.warn,
    *,
    trust_plugins: bool = False,
) -> Path:
    """Write the report of one run, or of several side by side.

    Args:
        runs: run folders, or runs.
        output: the file; by default ``report.html``, in the run folder for one run and in the
            working directory for several.
        device: where models are evaluated; by default where the config says.
        warn: receives a message for each section and each plugin that fails.
        trust_plugins: see ``vq.load_run``.

    Returns:
        The path of the file.

    Raises:
        SettingError: if a path is not a run folder, or the file exists and is not a report.
        RunError: if the file cannot be written.
    """
    paths = run_paths(runs)
    target = paths[0] / NAME if len(paths) == 1 else Path(NAME)
    if output is not None:
        target = Path(output)
    comparison = compare(paths)
    _check_free(target)
    options = {"alone": len(paths) == 1, "trust_plugins": trust_plugins}
    reported = [ReportedRun(run, device, **options) for run in comparison.runs]
    write_text(target, _page(reported, comparison, warn))
    return target


def _page(runs: Sequence[ReportedRun], comparison: Comparison, warn: Callable[[str], None]) -> str:
    page = Page()

    def add(title: str, make: Callable[[], Section]) -> None:
        with _isolated(f"section {title!r}", warn) as failures:
            page.add(make())
        if failures:
            page.add(Section(title, failures))
        task.advance()

    with working("writing the report", len(SECTIONS) + 5, "sections") as task:
        add("Held-out metrics", partial(metrics, comparison))
        add("Settings", partial(settings, runs, comparison))
        add("Curves", partial(curves, runs))
        for each in SECTIONS:
            add(each[0], partial(_run_section, runs, each, warn))
        for section in _plugin_sections(runs, warn):
            page.add(section)
        task.advance()
        add(LAST[0], partial(_run_section, runs, LAST, warn))
    alone = len(runs) == 1
    written = time.strftime("%Y-%m-%d at %H:%M")
    return page.html(
        title=runs[0].label if alone else f"{len(runs)} runs",
        subtitle=f"{runs[0].title}, {runs[0].state}" if alone else "",
        runs=runs,
        footer=f"Written by vq report on {written}; this file is self-contained.",
    )


@contextmanager
def _isolated(part: str, warn: Callable[[str], None]) -> Iterator[list[Block]]:
    """Inside, what fails is that part's alone: it is warned of, and becomes a text in the list.

    A run folder may be damaged or come from anyone, and a part be written by anyone.
    """
    failures: list[Block] = []
    try:
        yield failures
    except Exception as error:
        reason = f"{part} cannot be shown: {describe_error(error)}"
        warn(reason)
        _log.debug(reason, exc_info=error)
        failures.append(Text(f"{reason[:1].upper()}{reason[1:]}."))


def _run_section(
    runs: Sequence[ReportedRun], section: RunSection, warn: Callable[[str], None]
) -> Section:
    """A section of every run, merged; where data are missing, the reason."""
    title, lead, show = section
    parts = []
    for run in runs:
        blocks: Sequence[Block] = []
        with _isolated(f"section {title!r} of {run.label}", warn) as failures:
            try:
                blocks = show(run)
            except Unavailable as reason:
                blocks = [Text(str(reason))]
        parts.append((run, Section(title, [*blocks, *failures], lead)))
    return _merged(parts, several=len(runs) > 1)


def _plugin_sections(runs: Sequence[ReportedRun], warn: Callable[[str], None]) -> list[Section]:
    """The sections of ``vq_report`` hooks, merged by title, and one that names those that fail."""
    found: dict[str, list[tuple[ReportedRun, Section]]] = {}
    failures: list[Block] = []

    def failed(message: str) -> None:
        warn(message)
        failures.append(Text(f"{message}."))

    for run in runs:
        if run.registry is not None:
            seen: protocols.ReportedRun = run
            answers = HookCaller(run.registry, failed).call("vq_report", _checked, run=seen)
            for section in [section for answer in answers for section in answer]:
                found.setdefault(section.title, []).append((run, section))
    sections = [_merged(parts, several=len(runs) > 1) for parts in found.values()]
    return [*sections, *([Section("Plugins that failed", failures)] if failures else [])]


def _merged(parts: Sequence[tuple[ReportedRun, Section]], *, several: bool) -> Section:
    blocks: list[Block] = [block for _, section in parts for block in section.blocks]
    if several:
        blocks = [Group(run.label, section.blocks) for run, section in parts]
    first = parts[0][1]
    return Section(first.title, blocks, first.lead)


def _checked(answer: Iterable[Any], _owner: str) -> list[Section]:
    """A plugin's sections, rendered once: what fails here is that plugin's failure alone."""
    sections = list(answer)
    for section in sections:
        if not isinstance(section, Section):
            expected = "sections of vqcore.plugin.report_section"
            raise TypeError(f"expected {expected}, found {type(section).__name__}")
        Page().add(section)
    return sections


def _check_free(path: Path) -> None:
    if path.is_dir():
        raise SettingError("--output", str(path), "a file, found a folder")
    if not path.parent.is_dir():
        raise SettingError("--output", str(path), f"an existing folder, found no {path.parent}")
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if MARK not in file.read(4096):
            expected = "a new file or an earlier report"
            raise SettingError("--output", str(path), expected, "choose another name")
