"""What the READMEs tell to type runs. tests/test_examples.py installs the packages first."""

import re
import shlex
from pathlib import Path

import pytest

READMES = sorted(Path(__file__).parents[1].glob("*/README.md"))
#: Typed elsewhere: the packages are installed, and this is pytest.
ELSEWHERE = ('pip install -e ".[test]"', "pytest")


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_every_block_runs(readme, vq, without_plots):
    """In its order, and ``vq train`` with two steps."""
    for language, block in re.findall(
        r"^```(sh|python)\n(.*?)^```", readme.read_text(encoding="utf-8"), re.M | re.S
    ):
        if language == "python":
            exec(compile(block, str(readme), "exec"), {"__name__": "example"})
            continue
        for line in block.splitlines():
            command = line.split("  #")[0].strip()
            if command not in ELSEWHERE:
                program, *arguments = shlex.split(command)
                assert program == "vq"
                short = ("--set", "max_steps=2") if arguments[0] == "train" else ()
                result = vq(*arguments, *short)
                assert result.code == 0, result
