"""The folder of a run: where each file lies, and how it is written so that a crash leaves the old one or the new."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vq.runs.files import read_json_lines, write_text, writing
from vqcore.errors import SettingError


class RunFolder:
    """Names and writes the files of one run.

    Args:
        path: the folder; see ``create`` and ``open``.
    """

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
            raise SettingError(
                "--run-dir", str(path), f"a place that can be written: {error.strerror}"
            ) from error
        return cls(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Refuse a folder that another run may be in.

        Raises:
            SettingError: if the path is a file, or a folder with anything in it.
        """
        try:
            if path.exists() and not path.is_dir():
                raise SettingError("--run-dir", str(path), "a new or empty folder, found a file")
            if path.exists() and any(not _is_temporary(each) for each in path.iterdir()):
                fix = f"choose another, or go on with: vq train --resume {path}"
                raise SettingError(
                    "--run-dir", str(path), "a new or empty folder, found files in it", fix
                )
        except OSError as error:
            raise SettingError(
                "--run-dir", str(path), f"a folder that can be read: {error.strerror}"
            ) from error

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
        """Refuse to go on with a run that a living process of this machine is still training.

        Raises:
            SettingError: naming that process.
        """
        try:
            status = json.loads(self.status.read_text(encoding="utf-8"))
            process = int(status["pid"])
            os.kill(process, 0)  # signal 0 asks whether it lives
        except (OSError, ValueError, KeyError, TypeError):
            return
        running = status.get("status") == "running" and status.get("host") == socket.gethostname()
        if running and process != os.getpid():
            fix = f"wait for it or stop it; if it is no training process, remove {self.status}"
            raise SettingError(
                "--resume",
                str(self.path),
                f"a run nobody is training, found process {process}",
                fix,
            )

    def write_json(self, path: Path, value: Any) -> None:
        """Write JSON, whole or not at all."""
        write_text(path, json.dumps(value, indent=2, default=str) + "\n")

    def write_yaml(self, path: Path, value: Any) -> None:
        """Write YAML in the given order, whole or not at all."""
        import yaml

        write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut short by a crash is left out."""
        return read_json_lines(self.metrics)

    def rewind_metrics(self, step: int) -> None:
        """Drop what was logged after ``step``: those steps will be done again."""
        kept = [json.dumps(line) + "\n" for line in self.read_metrics() if line["step"] <= step]
        write_text(self.metrics, "".join(kept))

    def set_status(self, status: str, step: int, **more: Any) -> None:
        """Record where the run stands: running, done, failed or interrupted."""
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        self.write_json(
            self.status, {"status": status, "step": step, **who, "time": time.time(), **more}
        )

    def is_done(self) -> bool:
        """Whether the run that wrote here last came to its end, figures and pictures included."""
        try:
            return json.loads(self.status.read_text(encoding="utf-8"))["status"] == "done"
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _is_temporary(path: Path) -> bool:
    """Whether it is what a process left that was killed while it wrote."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _made(path: Path) -> Path:
    """A new folder, ``path`` or with a number behind it: of runs that start at once each gets its own."""
    candidate, number = path, 1
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")
