"""The scripts that are loaded into shells, beside this file."""

from __future__ import annotations

from pathlib import Path

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """The script of a shell."""
    return Path(__file__).with_name(f"vq.{shell}").read_text(encoding="utf-8")
