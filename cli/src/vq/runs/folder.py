"""The folder of a run: where each file is, and how it is written."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.checkpoints.step_names import step_of
from vq.files import (
    append_bytes,
    append_text,
    check_no_links,
    is_temporary,
    leftovers,
    read_json,
    remove,
    write_bytes,
    write_json,
    writing,
)
from vq.files.names import plain_name
from vq.processes.launched import rank
from vq.runs import folder_lock
from vq.runs.metric_lines import read_metric_lines
from vqcore.errors import RunError, SettingError, shown

_log = logging.getLogger(__name__)
#: The folder in a run folder that has one for each plugin.
OF_PLUGINS = "plugins"
#: Folders in a run folder that training writes into.
WRITTEN = ("checkpoints", "samples", "history", "tensorboard", OF_PLUGINS)


def run_path(run: Any) -> Path:
    """The folder of a run that is given by its path or as an object.

    Raises:
        SettingError: if it is neither.
    """
    path = getattr(getattr(run, "folder", run), "path", run)
    if not isinstance(path, str | Path):
        raise SettingError("run", run, "a run, or the path of its folder")
    return Path(path).expanduser()


class Folder:
    """A folder that is written into."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, name: str, text: str) -> None:
        """Add text to the end of a file in this folder.

        Raises:
            RunError: if it cannot be written, or is a link.
        """
        append_text(self.path / name, text)

    def write(self, name: str, content: bytes) -> None:
        """Write a file in this folder whole or not at all; a link of that name is replaced.

        Raises:
            RunError: if it cannot be written.
        """
        write_bytes(self.path / name, content)


class _PluginFolder(Folder):
    """A folder that is made when something is written into it."""

    def append(self, name: str, text: str) -> None:
        """See ``Folder.append``."""
        self._make()
        super().append(name, text)

    def write(self, name: str, content: bytes) -> None:
        """See ``Folder.write``."""
        self._make()
        super().write(name, content)

    def _make(self) -> None:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)


class RunFolder(Folder):
    """Names and writes the files of one run; see ``create`` and ``open``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.status = path / "status.json"
        self.data = path / "data.json"
        self.plugins = path / "plugins.json"
        self.env = path / "env.json"
        self.init = path / "init.json"
        self.log = path / "log.txt"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, chosen: Path | None, title: str) -> RunFolder:
        """A new folder: the one chosen, or ``runs/<time>-<title>``.

        Raises:
            SettingError: if the chosen one holds anything, or a folder cannot be made there.
        """
        path = chosen or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{title}"
        try:
            if chosen is None:
                return cls(_made(path))
            cls.check_free(path)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            expected = f"a place that can be written: {error.strerror}"
            raise SettingError("--run-dir", str(path), expected) from error
        return cls(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Refuse a folder that may hold another run.

        Raises:
            SettingError: if the path is a file, or a folder with anything in it.
        """
        try:
            if path.exists() and not path.is_dir():
                raise SettingError("--run-dir", str(path), "a new or empty folder, found a file")
            if path.exists() and any(map(_counts, path.iterdir())):
                expected = "a new or empty folder, found files in it"
                fix = f"choose another, or resume with: vq train --resume {path}"
                raise SettingError("--run-dir", str(path), expected, fix)
        except OSError as error:
            expected = f"a folder that can be read: {error.strerror}"
            raise SettingError("--run-dir", str(path), expected) from error

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an earlier run.

        Raises:
            SettingError: if there is none.
        """
        folder = cls(path)
        if not folder.config.is_file():
            raise SettingError("run", str(path), "a run folder with a config.yaml in it")
        return folder

    def check_resumable(self) -> None:
        """Refuse to resume a run in training, or one that would write outside its folder.

        Raises:
            SettingError: naming the process that trains it; or as ``check_links``.
        """
        if rank() == 0:  # of another process the lock may be our own
            folder_lock.check_unlocked(self.path, "--resume")
        self.check_links()

    def check_links(self) -> None:
        """Refuse to resume a run that would write outside its folder.

        Raises:
            SettingError: naming the link that leads elsewhere.
        """
        written = (self.path / name for name in WRITTEN)
        check_no_links(self.path, (*written, *self._of_plugins()), "--resume")

    def warn_of_another_host(self) -> None:
        """Warn where another machine may still be training the run: locks may not reach it."""
        status = self.read_status()
        host = status.get("host")
        if status.get("status") == "running" and host != socket.gethostname():
            process = f"process {shown(status.get('pid'), 20)} on {shown(host, 80)}"
            _log.warning(
                f"{self.status} says that {process} trains this run: make sure it has ended"
            )

    def remove_leftovers(self) -> None:
        """Delete what processes that were killed left half-written. Needs the folder's lock."""
        ours = {path.name for path in vars(self).values()}
        for folder in (self.path, *(self.path / name for name in WRITTEN)):
            for path in leftovers(folder, lambda name: name in ours or _is_of_a_step(name)):
                remove(path)
        for folder in self._of_plugins():
            for path in leftovers(folder, lambda name: True):
                remove(path)

    def plugin(self, name: str) -> Folder:
        """The folder ``plugins/NAME`` in this one, where a plugin writes; it need not be there.

        Raises:
            UsageError: if no folder can have this name.
            RunError: if it is a link, or in one.
        """
        path = self.path / OF_PLUGINS / plain_name(name, "run.folder.plugin: name")
        for part in (path.parent, path):
            if part.is_symlink():
                raise RunError(f"{part} cannot be written: it is a symbolic link")
        return _PluginFolder(path)

    def _of_plugins(self) -> list[Path]:
        """What is in the folder of plugins, if there is one in this folder."""
        path = self.path / OF_PLUGINS
        return sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else []

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        append_text(self.metrics, json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The good lines of metrics.jsonl; a warning says how many are damaged.

        Raises:
            RunError: if the file cannot be read.
        """
        found = read_metric_lines(self.metrics)
        if found.damaged:
            _log.warning(f"{self.metrics}: {_count(found.damaged)} left out")
        return found.lines

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines after ``step``, which will be repeated, and set damaged ones aside."""
        found = read_metric_lines(self.metrics)
        if found.damaged:
            aside = self.path / "metrics.damaged.jsonl"
            append_bytes(aside, b"".join(each + b"\n" for each in found.damaged))
            _log.warning(f"{self.metrics}: {_count(found.damaged)} moved to {aside}")
        both = zip(found.lines, found.texts, strict=True)
        kept = [text + b"\n" for line, text in both if line["step"] <= step]
        write_bytes(self.metrics, b"".join(kept))

    def read_status(self) -> dict[str, Any]:
        """The contents of status.json; empty where it is missing or damaged."""
        return read_json(self.status) or {}

    def set_status(self, status: str, step: int, **more: Any) -> None:
        """Record the state of the run: running, done, failed or interrupted."""
        process = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        write_json(self.status, {"status": status, "step": step, **process, **more})

    def is_done(self) -> bool:
        """Whether the run in this folder is complete, its summary and plots included."""
        return self.read_status().get("status") == "done"


def _counts(path: Path) -> bool:
    """Whether a file belongs to a run: not one that a process left that was killed at once."""
    return not is_temporary(path) and path.name != folder_lock.NAME


def _is_of_a_step(name: str) -> bool:
    return step_of(name.partition(".")[0]) is not None


def _count(lines: list[bytes]) -> str:
    return "1 damaged line" if len(lines) == 1 else f"{len(lines)} damaged lines"


def _made(path: Path) -> Path:
    """A new folder, ``path`` or with a number appended: runs that start together each get one."""
    candidate = path
    number = 1
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")
