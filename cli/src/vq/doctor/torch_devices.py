"""torch, torchvision and the devices, as the process of ``vq.doctor.probe`` finds them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from vq.doctor.finding import Check, Finding, Problem
from vq.doctor.probe import STAGES
from vq.requirements import installed, unmet
from vqcore.errors import printable, shortened
from vqcore.plugin.registry import Registry

#: Seconds after which importing torch counts as stuck.
PATIENCE = 180.0
_COMMAND = (sys.executable, "-m", "vq.doctor.probe")


class TorchProbe:
    """Starts the process once, at the first question. Its answers are by the names of stages."""

    @cached_property
    def answers(self) -> dict[str, dict[str, Any]]:
        """For each stage that began its facts or its error, and the warnings."""
        environment = os.environ | {"PYTHONSAFEPATH": "1"}  # no modules of the working directory
        try:
            done = subprocess.run(
                _COMMAND, capture_output=True, env=environment, timeout=PATIENCE, check=False
            )
            output, said = done.stdout, done.stderr
            code = done.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            ended = f"it ended the process ({how})"
        except subprocess.TimeoutExpired as error:
            output, said = error.stdout or b"", error.stderr or b""
            ended = f"it did not end within {PATIENCE:.0f} s"
        answers = {line["stage"]: line for line in _whole(output.splitlines())}
        missing = next((stage for stage in STAGES if stage not in answers), None)
        if missing and "error" not in answers.get("torch", {}):
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            answers[missing] = {"stage": missing, "error": ": ".join([ended, *last])}
        return answers

    def _facts(self, stage: str) -> dict[str, Any]:
        facts: dict[str, Any] = self.answers.get(stage, {}).get("facts", {})
        return facts

    def _error(self, stage: str) -> str:
        text = self.answers.get(stage, {}).get("error", "")
        return shortened(printable(" ".join(text.split())), 400)

    def torch(self, _: Registry) -> Finding:
        """The builds of torch and torchvision, and what ``--compile`` needs."""
        about = self._facts("torch")
        facts = {
            "torch": about.get("version"),
            "torchvision": self._facts("torchvision").get("version"),
            "cuda": about.get("cuda"),
            "rocm": about.get("rocm"),
            "cpu_capability": about.get("cpu_capability"),
            "triton": self._facts("triton").get("version"),
            "compiler": next(filter(shutil.which, ("c++", "g++", "clang++", "cl")), None),
        }
        return Finding(facts, list(self._build_problems(facts)))

    def _build_problems(self, facts: dict[str, Any]) -> Iterator[Problem]:
        if error := self._error("torch"):
            yield Problem("broken", f"torch cannot be imported: {error}", _reinstall("torch"))
        if error := self._error("torchvision"):
            text = f"torchvision {installed('torchvision')} cannot be imported beside "
            text += f"torch {facts['torch']}: {error}"
            yield Problem("broken", text, _pair())
        elif facts["torch"] and (why := _mismatch()):
            yield Problem("broken", why, _pair())
        if error := self._error("triton"):
            text = f"triton cannot be imported: {error}"
            yield Problem("warning", text, "pip install --force-reinstall triton")
        if facts["torch"] and not facts["compiler"]:
            text = "there is no C++ compiler, which --compile needs on a CPU"
            yield Problem("warning", text, "install g++ or clang")

    def devices(self, _: Registry) -> Finding:
        """What can be trained on, each with the values of ``--precision`` that it can use."""
        rows = self._facts("devices").get("devices", [])
        driver, present = _nvidia()
        problems = []
        if error := self._error("devices"):
            problems.append(Problem("broken", f"devices cannot be listed: {error}", _driver_fix()))
        for row in rows:
            if row["device"].startswith("cuda"):
                row["driver"] = driver
            if not row["works"] and row["device"] != "mps":
                text = f"{row['device']} ({row.get('name')}) does not compute: {row.get('error')}"
                problems.append(Problem("broken", text, _driver_fix()))
        usable = any(row["device"].startswith("cuda") for row in rows)
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
        if rows and present and not usable and not hidden:
            built = "is built for the CPU alone" if not self._facts("torch").get("cuda") else ""
            said = "; ".join(self.answers["devices"].get("warnings", ()))
            why = built or shortened(" ".join(said.split()), 300) or "finds none"
            text = f"there is a GPU ({present[0]}, driver {driver}), but torch {why}"
            problems.append(Problem("warning", text, _driver_fix()))
        return Finding(rows, problems)

    def with_threads(self, check: Callable[[int | None], Finding]) -> Check:
        """The check of threads, which needs the number that torch takes."""
        return lambda _: check(self._facts("torch").get("threads"))


def _whole(lines: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Lines of JSON; where a process was killed while it wrote one, that is left out."""
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def _mismatch() -> str:
    """Why the torchvision that is installed is not for this torch, by their versions."""
    wrong = next(
        (each for each in unmet("torchvision") if re.match("torch[=<> ]", str(each[0]))), None
    )
    return f"torchvision {installed('torchvision')} {wrong}" if wrong else ""


def _reinstall(*packages: str) -> str:
    return f"pip install --force-reinstall {' '.join(packages)}"


def _pair() -> str:
    """How to get a torch and a torchvision that fit each other."""
    return f"take both from one package index: {_reinstall('torch', 'torchvision')}"


def _driver_fix() -> str:
    return "install a torch for the CUDA of your driver (nvidia-smi), or a newer driver"


def _nvidia() -> tuple[str | None, list[str]]:
    """The driver of NVIDIA, and the names of its GPUs, as its own tool has them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None, []
    command = [tool, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None, []
    rows = [line.partition(", ") for line in done.stdout.splitlines() if ", " in line]
    return (rows[0][0], [name for _, _, name in rows]) if rows else (None, [])
