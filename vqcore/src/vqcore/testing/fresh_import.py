"""What importing a plugin's modules does in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from vqcore.testing.rules import expect

#: CPU time that the imports may take, if what every command imports of vqcore takes no longer.
MOST_SECONDS = 0.3
#: Imports modules after those that every command does, and writes what that did to a file: stdout
#: is the modules' own, also when Python ends.
_PROBE = """
import contextlib, importlib, io, json, sys, time
import vqcore.errors, vqcore.plugin.component_config, vqcore.plugin.registry

answer, *names = sys.argv[1:]
usual, before, printed, error = time.process_time(), set(sys.modules), io.StringIO(), ""
with contextlib.redirect_stdout(printed):
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as raised:
            error = f"{name}: {vqcore.errors.describe_error(raised)}"
            break
seconds = time.process_time() - usual
packages = {name.partition(".")[0] for name in sys.modules.keys() - before}
own = {name.partition(".")[0] for name in names} | {"vqcore"} | sys.stdlib_module_names
others = sorted(name for name in packages - own if not name.startswith("_"))
with open(answer, "w") as file:
    json.dump([error, printed.getvalue(), others, seconds, usual], file)
"""


@dataclass(frozen=True)
class FreshImport:
    """What importing some modules did.

    Attributes:
        error: why that failed, or empty.
        printed: to stdout.
        others: the packages that were imported besides, but for those of Python and vqcore.
        seconds: CPU time, beyond that of what every command imports.
        usual: CPU time of the latter.
    """

    error: str
    printed: str
    others: list[str]
    seconds: float
    usual: float

    @property
    def is_fast(self) -> bool:
        """Whether the imports take no longer than they may, on a slow machine too."""
        return self.seconds <= max(MOST_SECONDS, self.usual)


@lru_cache(maxsize=64)  # three rules ask
def imported(names: tuple[str, ...], search_path: str) -> FreshImport:
    """Import modules in a fresh interpreter; again if it takes long, now with their bytecode.

    Args:
        names: of the modules.
        search_path: where modules are looked for, as in ``PYTHONPATH``.

    Raises:
        AssertionError: if one cannot be imported.
    """
    found = _imported(names, search_path)
    if not found.is_fast and "torch" not in found.others:
        found = min(found, _imported(names, search_path), key=lambda each: each.seconds)
    return found


def _imported(names: tuple[str, ...], search_path: str) -> FreshImport:
    with TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, str(answer), *names],
            env={**os.environ, "PYTHONPATH": search_path},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        what = f"importing {', '.join(names)}"
        ended = done.returncode or not answer.exists()
        expect(not ended, f"{what} ends Python with {done.returncode}: {done.stderr[-300:]}")
        found = FreshImport(*json.loads(answer.read_text()))
    expect(not found.error, f"{what} fails: {found.error}")
    by_others = done.stdout.strip()  # what writes to the file descriptor itself, or at exit
    return replace(found, printed=found.printed + by_others)
