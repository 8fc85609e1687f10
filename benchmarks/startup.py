"""Compares the CPU time of ``vq`` commands that do not train with that of their imports.

    python benchmarks/startup.py [--repeats 15]

Each line is the median user and system time of interleaved runs in fresh interpreters with cached
bytecode. ``used`` imports what the commands use of Typer, rich and pydantic; ``bare`` runs only the
three ``import`` statements, which leave out most of pydantic, since it loads its parts on demand.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

USED = "import typer, rich.console, rich.table\nfrom pydantic import BaseModel"
BARE = "import typer, rich, pydantic"
VQ = "import sys; sys.argv[0] = 'vq'; from vq.cli.app import main; main()"
COMMANDS = [
    "vq --help",
    "vq train --help",
    "vq report --help",  # a plugin's command
    "vq list-plugins",
    "vq list-plugins --json",
    "vq show manifold poincare",
    "vq show manifold poincare --json",
    "vq train --dry-run",
    "vq train --print-config",
]
COMPLETION = {"_VQ_COMPLETE": "complete_bash", "COMP_WORDS": "vq train --m", "COMP_CWORD": "2"}


def cpu_seconds(source: str, arguments: list[str], variables: dict[str, str]) -> float:
    """User and system time of a fresh interpreter that runs ``source``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        env=kept | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(arguments)} failed:\n{errors.decode()}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, and print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    cases = {"used": (USED, [], {}), "bare": (BARE, [], {})}
    cases |= {command: (VQ, command.split()[1:], {}) for command in COMMANDS}
    cases["completion of vq train --m"] = (VQ, [], COMPLETION)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            seconds = cpu_seconds(*case)
            if repeat:  # the first round fills the bytecode caches
                times[name].append(seconds)
    median = {name: 1000 * statistics.median(values) for name, values in times.items()}
    used, bare = median.pop("used"), median.pop("bare")
    print(f"imports used {used:.0f} ms, bare imports {bare:.0f} ms")
    print(f"{'command':34} {'ms':>5} {'/ used':>7} {'/ bare':>7}")
    for name, taken in median.items():
        print(f"{name:34} {taken:5.0f} {taken / used:7.2f} {taken / bare:7.2f}")


if __name__ == "__main__":
    main()
