"""An environment with projects installed in it, made without a network."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

UV = os.environ.get("UV") or shutil.which("uv")
needs_uv = pytest.mark.skipif(UV is None, reason="uv is not on PATH: nothing can be installed")


@dataclass(frozen=True)
class Environment:
    """A virtual environment beside the one that runs the tests."""

    folder: Path

    @property
    def scripts(self) -> Path:
        """Where its commands are: ``python``, and what the projects install."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def run(
        self, *command: object, cwd: Path, code: int | None = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the environment activated.

        Of the packages of the tests' environment it has the modules, not the commands: say
        ``python -m pytest`` and ``python -m vq``.

        Args:
            command: the command and its arguments.
            cwd: the folder it runs in.
            code: the exit code that is expected; None for any.
            variables: environment variables beside those of the tests. Those of ``vq`` are unset.
        """
        inherited = {name: value for name, value in os.environ.items() if name[:3] != "VQ_"}
        inherited["PATH"] = os.pathsep.join([str(self.scripts), inherited.get("PATH", "")])
        inherited["VIRTUAL_ENV"] = str(self.folder)
        program = shutil.which(str(command[0]), path=inherited["PATH"]) or str(command[0])
        done = subprocess.run(
            [program, *map(str, command[1:])],
            cwd=cwd,
            env=inherited | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code in (None, done.returncode), f"{done.stdout}\n{done.stderr}"
        return done


def plugin_environment(folder: Path, projects: Sequence[Path]) -> Environment:
    """An environment that sees the packages of this one and has projects installed, editable.

    Args:
        folder: where it is made; must not exist yet. It takes half a second.
        projects: folders with a pyproject.toml that hatchling builds. Their dependencies are those
            that this environment has.
    """
    _uv("venv", "--quiet", "--offline", "--python", sys.executable, folder)
    scheme = {"base": str(folder), "platbase": str(folder)}
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = [f"import site; site.addsitedir({site!r})\n" for site in sorted(here)]
    site_packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    (site_packages / "environment_of_the_tests.pth").write_text("".join(lines))
    editable = [part for project in projects for part in ("--editable", project)]
    options = ("--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", folder)
    if editable:
        _uv("pip", "install", *options, *editable)
    return Environment(folder)


def _uv(*arguments: object) -> None:
    done = subprocess.run(
        [str(UV), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
