"""The folder of a run: where each file is, and how it is written."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.files import read_json, read_json_lines, write_json, write_text, writing
from vqcore.errors import SettingError


def run_path(run: Any) -> Path:
    """The folder of a run that is given by its path or as an object.

    Raises:
        SettingError: if it is neither.
    """
    path = getattr(getattr(run, "folder", run), "path", run)
    if not isinstance(path, str | Path):
        raise SettingError("run", run, "a run, or the path of its folder")
    return Path(path).expanduser()


class RunFolder:
    """Names and writes the files of one run; see ``create`` and ``open``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.status = path / "status.json"
        self.data = path / "data.json"
        self.plugins = path / "plugins.json"
        self.env = path / "env.json"
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
            if path.exists() and any(not _is_temporary(each) for each in path.iterdir()):
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

    def check_idle(self) -> None:
        """Refuse to resume a run that a process of this machine is still training.

        Raises:
            SettingError: naming that process.
        """
        status = self.read_status()
        try:
            process = int(status["pid"])
            os.kill(process, 0)  # signal 0 only checks that the process exists
        except (OSError, ValueError, KeyError, TypeError):
            return
        running = status.get("status") == "running" and status.get("host") == socket.gethostname()
        if running and process != os.getpid():
            fix = f"wait for it or stop it; if it is no training process, remove {self.status}"
            expected = f"a run that no process is training, found process {process}"
            raise SettingError("--resume", str(self.path), expected, fix)

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut short by a crash is left out."""
        return read_json_lines(self.metrics)

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines after ``step``: those steps will be repeated."""
        kept = [json.dumps(line) + "\n" for line in self.read_metrics() if line["step"] <= step]
        write_text(self.metrics, "".join(kept))

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


def _is_temporary(path: Path) -> bool:
    """Whether a process that was killed while writing left this file."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


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
