"""Speaks with the shells: their scripts are beside this file and ask with ``_VQ_COMPLETE``.

A script passes the words before the cursor, one a line, and the one that is being typed; bash,
which splits words at ``=`` and ``:``, passes the line instead. The answer has a line for each
candidate: for bash what it inserts, for the others the candidate, a tab and a description.
"""

from __future__ import annotations

import os
import re
import shlex
import sys

from vq.cli import debug
from vq.cli.completion.candidates import candidates
from vq.cli.completion.scripts import SHELLS, script
from vq.cli.global_options import GlobalOptions
from vq.cli.plugin_output import stdout_on_stderr
from vqcore.errors import printable, shortened
from vqcore.plugin.registry import default_registry

#: Marks the cursor: no line has it.
_CURSOR = "\0"
_LONGEST = 100
#: By the quote that is open: characters that bash would act on inside it. A candidate with one is
#: not offered there, since bash keeps some of the backslashes that would prevent this.
_ACTIVE = {"": frozenset(""), "'": frozenset("'"), '"': frozenset('"$`\\!')}


def answer() -> None:
    """Answer a script, or print one. Whatever goes wrong, nothing is printed into a prompt."""
    action, _, shell = os.environ["_VQ_COMPLETE"].partition("_")
    try:
        if shell in SHELLS and action == "source":
            sys.stdout.write(script(shell))
        elif shell in SHELLS and action == "complete":
            with stdout_on_stderr():
                lines = _answers(shell)
            sys.stdout.write("".join(f"{line}\n" for line in lines))
    except Exception as error:
        debug.show_traceback(error)


def _answers(shell: str) -> list[str]:
    quote = ""
    if shell == "bash":
        words, quote = split_line(os.environ.get("_VQ_LINE", ""))
    else:
        words = [*os.environ.get("_VQ_WORDS", "").splitlines(), os.environ.get("_VQ_TYPED", "")]
    if not words:
        return []
    *before, incomplete = words
    with GlobalOptions.read(before).applied():  # plugins that are turned off offer nothing
        offered = list(candidates(default_registry(), before, incomplete))
    found = {text: about for text, about in offered if text.isprintable()}
    if shell == "bash":
        safe = (text for text in found if not _ACTIVE[quote].intersection(text))
        return [_for_bash(text, incomplete, quote) for text in safe]
    return [f"{text}\t{_described(about)}" for text, about in found.items()]


def split_line(line: str) -> tuple[list[str], str]:
    """The words of a line after the command's own, and the quote that is open at its end, if any.

    The last word is the one at the cursor, which may be empty.
    """
    for quote in ("", "'", '"'):
        try:
            words = shlex.split(f"{line}{_CURSOR}{quote}")
        except ValueError:  # another quote is open
            continue
        return [word.removesuffix(_CURSOR) for word in words[1:]], quote
    return [], ""


def _for_bash(text: str, incomplete: str, quote: str) -> str:
    """What bash inserts: what follows the last separator that ends a word for it, escaped."""
    if quote:
        return text
    separators = [mark for mark in "=:" if mark in os.environ.get("_VQ_BREAKS", "=:")]
    start = max((incomplete.rfind(mark) + 1 for mark in separators), default=0)
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", text[start:])


def _described(about: str) -> str:
    """The first sentence, on one line."""
    sentence = re.split(r"(?<=[.;])\s|  \[default|\n", about, maxsplit=1)[0].rstrip(".;")
    return shortened(printable(sentence), _LONGEST)
