"""Whether all processes see one folder, or each the one on the disk of its own machine."""

from __future__ import annotations

import secrets
import socket
import time
from pathlib import Path

from vq.files import write_bytes
from vq.processes.together import agreed, gathered, on_main, world
from vqcore.errors import SettingError

#: The file whose temporary name stands in the folder for a moment, see ``vq.files.leftovers``.
MARK = "shared"
#: A file system may show what another machine wrote only after a while.
_LOOKS, _PAUSE = 10, 0.5


def require_shared(folder: Path, option: str) -> None:
    """Refuse a folder in which a process does not see what the main one writes; each calls it.

    Raises:
        SettingError: naming the processes and their machines.
        RunError: if the folder cannot be written.
    """
    if world() == 1:
        return
    mark = folder / f".{MARK}.{on_main(lambda: secrets.token_hex(8))}.tmp"
    on_main(lambda: write_bytes(mark, b""))
    found = gathered((socket.gethostname(), _appears(mark)))
    on_main(lambda: mark.unlink(missing_ok=True))
    blind = [f"process {rank} on {host}" for rank, (host, seen) in enumerate(found) if not seen]
    if blind:
        some = ", ".join(blind[:4]) + (", ..." if len(blind) > 4 else "")
        expected = f"a folder that all processes share; {some} cannot see there what process 0 on "
        expected += f"{found[0][0]} writes"
        fix = "choose one on a disk that all machines share"
        raise SettingError(option, str(folder), expected, fix)


def require_same(value: str, option: str, path: str) -> None:
    """Refuse an input that the processes do not see alike, by what identifies it; each calls it.

    Raises:
        SettingError: in the processes that differ from the main one.
    """
    first = gathered(value)[0]

    def check() -> None:
        if value != first:
            expected = f"what process 0 reads; other files are there on {socket.gethostname()}"
            raise SettingError(option, path, expected, "give each machine the same files")

    agreed(check)


def _appears(file: Path) -> bool:
    for _ in range(_LOOKS):
        if file.exists():
            return True
        time.sleep(_PAUSE)
    return False
