"""The results of a sweep: mean and standard deviation over seeds, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from vq.files import write_text
from vq.sweeps.folder import SweepFolder, SweepRun

#: Metrics in the tables; the other files have all.
SHOWN = ("psnr", "accuracy", "perplexity", "codes_used", "dead_codes", "seconds")


def groups(runs: Sequence[SweepRun]) -> list[dict[str, Any]]:
    """One for each combination of settings, over its seeds.

    Returns:
        ``settings``; ``runs``, the number that is done, and ``failed``; ``mean`` and ``sd`` of each
        metric that all of the done ones have. ``sd`` is the standard deviation of a sample (n - 1),
        None of a single run.
    """
    by_settings: dict[tuple[tuple[str, str], ...], list[SweepRun]] = {}
    for run in runs:
        by_settings.setdefault(tuple(run.settings.items()), []).append(run)
    return [_group(found) for found in by_settings.values()]


def _group(runs: Sequence[SweepRun]) -> dict[str, Any]:
    done = [run.metrics for run in runs if run.status == "done" and run.metrics]
    columns: dict[str, list[float]] = {}
    for name in done[0] if done else ():
        values: list[Any] = [metrics.get(name) for metrics in done]
        if all(map(_is_number, values)):
            columns[name] = values
    return {
        "settings": dict(runs[0].settings),
        "runs": len(done),
        "failed": sum(run.status == "failed" for run in runs),
        "mean": {name: statistics.fmean(values) for name, values in columns.items()},
        "sd": {name: _deviation(values) for name, values in columns.items()},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and (abs(value) < 1e300 or value == math.inf)


def _deviation(values: Sequence[float]) -> float | None:
    """None too where a value is infinite, as the PSNR of a perfect reconstruction."""
    finite = all(map(math.isfinite, values))
    return statistics.stdev(values) if finite and len(values) > 1 else None


def rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A header, and a row a group: settings, number of runs, mean and sd of the main metrics."""
    keys = list(dict.fromkeys(key for group in found for key in group["settings"]))
    names = [name for name in SHOWN if any(name in group["mean"] for group in found)]
    table = [[*keys, "runs", *names]]
    for group in found:
        settings = [group["settings"].get(key, "") for key in keys]
        count = str(group["runs"]) + (f", {group['failed']} failed" if group["failed"] else "")
        table.append([*settings, count, *(_both(group, name) for name in names)])
    return table


def write_summary(folder: SweepFolder) -> list[dict[str, Any]]:
    """Write sweep.json, sweep.csv (a row a run), sweep.md (a row a group); returns the groups."""
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
    names = list(dict.fromkeys(name for run in runs for name in run.metrics or {}))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "status", *keys, "seed", *names])
    for run in runs:
        metrics = run.metrics or {}
        settings = [run.settings.get(key, "") for key in keys]
        values = [metrics.get(name, "") for name in names]
        writer.writerow([run.name, run.status, *settings, run.seed, *values])
    return file.getvalue()


def _markdown(table: Sequence[Sequence[str]]) -> str:
    header, *body = ([cell.replace("|", "\\|") for cell in row] for row in table)
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
