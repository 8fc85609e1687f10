"""What came out of a sweep: mean and standard deviation over seeds, as a table, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from vq.runs.files import write_text
from vq.sweeps.folder import SweepFolder, SweepRun

#: Figures in the table for people; the files have all.
SHOWN = ("psnr", "perplexity", "codes_used", "dead_codes", "seconds")


def groups(runs: Sequence[SweepRun]) -> list[dict[str, Any]]:
    """One for each combination of settings, over its seeds.

    Returns:
        ``settings``; ``runs``, how many are done, and ``failed``; ``mean`` and ``sd`` of every figure that all of the
        done ones have: the sample's standard deviation (n - 1), None of a single run.
    """
    found = []
    for settings in _unique([run.settings for run in runs]):
        members = [run for run in runs if run.settings == settings]
        done = [run.figures for run in members if run.status == "done" and run.figures]
        names = (
            [name for name, value in done[0].items() if isinstance(value, int | float)]
            if done
            else []
        )
        columns = {
            name: [figures[name] for figures in done]
            for name in names
            if all(name in each for each in done)
        }
        found.append(
            {
                "settings": dict(settings),
                "runs": len(done),
                "failed": sum(run.status == "failed" for run in members),
                "mean": {name: statistics.fmean(values) for name, values in columns.items()},
                "sd": {
                    n: statistics.stdev(values) if len(values) > 1 else None
                    for n, values in columns.items()
                },
            }
        )
    return found


def rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A header and a row a group: its settings, how many runs, mean and standard deviation of the main figures."""
    keys = list(dict.fromkeys(key for group in found for key in group["settings"]))
    names = [name for name in SHOWN if any(name in group["mean"] for group in found)]
    table = [[*keys, "runs", *names]]
    for group in found:
        settings = [group["settings"].get(key, "") for key in keys]
        count = str(group["runs"]) + (f", {group['failed']} failed" if group["failed"] else "")
        table.append([*settings, count, *(_both(group, name) for name in names)])
    return table


def write_summary(folder: SweepFolder) -> list[dict[str, Any]]:
    """Write sweep.json, sweep.csv (a row a run, every figure) and sweep.md (the table); the groups."""
    found = groups(folder.runs)
    folder.write(found)
    write_text(folder.path / "sweep.csv", _csv(folder.runs))
    write_text(folder.path / "sweep.md", _markdown(rows(found)))
    return found


def _both(group: Mapping[str, Any], name: str) -> str:
    if name not in group["mean"]:
        return "-"
    sd = group["sd"][name]
    return f"{group['mean'][name]:.4g}" + ("" if sd is None else f" ± {sd:.2g}")


def _csv(runs: Sequence[SweepRun]) -> str:
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    names = list(dict.fromkeys(name for run in runs for name in run.figures or {}))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "status", *keys, "seed", *names])
    for run in runs:
        figures = run.figures or {}
        settings = [run.settings.get(key, "") for key in keys]
        writer.writerow(
            [run.name, run.status, *settings, run.seed, *(figures.get(name, "") for name in names)]
        )
    return file.getvalue()


def _markdown(table: Sequence[Sequence[str]]) -> str:
    header, *body = ([cell.replace("|", "\\|") for cell in row] for row in table)
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _unique(settings: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    found: list[Mapping[str, str]] = []
    for each in settings:
        if each not in found:
            found.append(each)
    return found
