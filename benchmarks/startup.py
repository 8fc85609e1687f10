"""Compares the CPU time of ``vq`` commands with that of their imports.

    python benchmarks/startup.py [--repeats 15]

Each line is the median user and system time of interleaved runs in fresh interpreters with cached
bytecode. ``used`` imports what the commands use of Typer, rich and pydantic; ``bare`` runs only the
three ``import`` statements, which leave out most of pydantic, since it loads its parts on demand.
``torch`` imports torch and torchvision: what a run of one step, with its evaluation, checkpoint and
plots, is compared with, by wall time too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

USED = "import typer, rich.console, rich.table\nfrom pydantic import BaseModel"
BARE = "import typer, rich, pydantic"
TORCH = "import torch, torchvision"
VQ = "import sys; sys.argv[0] = 'vq'; from vq.cli.process import main; main()"
COMMANDS = [
    "vq --help",
    "vq train --help",
    "vq report --help",  # a plugin's command
    "vq list-plugins",
    "vq list-plugins --json",
    "vq --version",
    "vq show run",
    "vq show manifold poincare",
    "vq show manifold poincare --json",
    "vq train --dry-run",
    "vq train --print-config",
]
TRAIN = "vq train --max-steps 1"
COMPLETION = {"_VQ_COMPLETE": "complete_bash", "_VQ_LINE": "vq train --m"}


Case = tuple[str, list[str], dict[str, str]]


def seconds(source: str, arguments: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """CPU time, user and system, and wall time of a fresh interpreter that runs ``source``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            cwd=folder,
            env=kept | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(arguments)} failed:\n{errors.decode()}")
    return usage.ru_utime + usage.ru_stime, wall


def medians(cases: dict[str, Case], repeats: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall time in ms of each case, run in turn."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            taken = seconds(*case)
            if repeat:  # the first round fills the bytecode caches
                times[name].append(taken)
    columns = {name: zip(*taken, strict=True) for name, taken in times.items()}
    return {
        name: (1000 * statistics.median(cpu), 1000 * statistics.median(wall))
        for name, (cpu, wall) in columns.items()
    }


def main() -> None:
    """Measure, and print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    cases: dict[str, Case] = {"used": (USED, [], {}), "bare": (BARE, [], {})}
    cases |= {command: (VQ, command.split()[1:], {}) for command in COMMANDS}
    cases["completion of vq train --m"] = (VQ, [], COMPLETION)
    cpu = {name: taken for name, (taken, _) in medians(cases, repeats).items()}
    used, bare = cpu.pop("used"), cpu.pop("bare")
    print(f"imports used {used:.0f} ms, bare imports {bare:.0f} ms")
    print(f"{'command':34} {'ms':>5} {'/ used':>7} {'/ bare':>7}")
    for name, taken in cpu.items():
        print(f"{name:34} {taken:5.0f} {taken / used:7.2f} {taken / bare:7.2f}")
    cases = {"torch": (TORCH, [], {}), TRAIN: (VQ, TRAIN.split()[1:], {})}
    found = medians(cases, max(repeats // 3, 1))
    for kind, torch, trained in zip(("CPU", "wall"), found["torch"], found[TRAIN], strict=True):
        against = f"{torch:.0f} ms of torch and torchvision"
        print(f"{TRAIN}, {kind}: {trained:.0f} ms against {against}: {trained / torch:.2f}")


if __name__ == "__main__":
    main()
