"""CPU time of the commands of ``vq`` that train nothing, against that of importing what every one of them needs.

    python benchmarks/startup.py [--repeats 15]

Each line is the median of interleaved runs in fresh interpreters, user and system time, with bytecode cached. The two
ratios are to the imports that the commands use of Typer, rich and pydantic, and to the bare ``import`` statements
of the three (pydantic loads its parts on demand, so that one leaves out most of pydantic).
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
COMMANDS = {
    "vq --help": ["--help"],
    "vq train --help": ["train", "--help"],
    "vq list-plugins": ["list-plugins"],
    "vq list-plugins --json": ["list-plugins", "--json"],
    "vq show manifold poincare": ["show", "manifold", "poincare"],
    "vq show manifold poincare --json": ["show", "manifold", "poincare", "--json"],
    "vq train --dry-run": ["train", "--dry-run"],
    "vq train --print-config": ["train", "--print-config"],
    "completion of vq train --m": [],
}
COMPLETION = {"_VQ_COMPLETE": "complete_bash", "COMP_WORDS": "vq train --m", "COMP_CWORD": "2"}


def cpu_seconds(source: str, arguments: list[str], variables: dict[str, str]) -> float:
    """User and system time of one fresh interpreter that runs ``source``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", source, *arguments]
    process = subprocess.Popen(
        command, env=kept | variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(arguments)} failed:\n{errors.decode()}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print one line a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    cases = {"used": (USED, [], {}), "bare": (BARE, [], {})}
    cases |= {name: (VQ, words, {} if words else COMPLETION) for name, words in COMMANDS.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            seconds = cpu_seconds(*case)
            if repeat:  # the first round fills the bytecode caches
                times[name].append(seconds)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"imports used {1000 * median['used']:.0f} ms, bare imports {1000 * median['bare']:.0f} ms"
    )
    print(f"{'command':34} {'ms':>5} {'/ used':>7} {'/ bare':>7}")
    for name in COMMANDS:
        ratios = [median[name] / median[base] for base in ("used", "bare")]
        print(f"{name:34} {1000 * median[name]:5.0f} {ratios[0]:7.2f} {ratios[1]:7.2f}")


if __name__ == "__main__":
    main()
