"""A command line up to the cursor: its command, what is given so far, and what is being typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Words:
    """Words as options with their values, and arguments.

    Attributes:
        given: options and their values, in order.
        arguments: what belongs to no option.
        pending: the option whose value comes next; empty if none does.
        bare: whether ``--`` was given, after which nothing is an option.
    """

    given: list[tuple[str, str]] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    pending: str = ""
    bare: bool = False


def read_words(words: Sequence[str], options: Mapping[str, Any]) -> Words:
    """What words mean to a command with these options; one with a dot is a key path."""
    found = Words()
    rest = iter(words)
    for word in rest:
        name, value = split_option(word)
        if found.bare or not name:
            found.arguments.append(word)
        elif word == "--":
            found.bare = True
        elif takes_value(name, options):
            value = next(rest, None) if value is None else value
            if value is None:
                found.pending = name
            else:
                found.given.append((name, value))
    return found


def split_option(word: str) -> tuple[str, str | None]:
    """An option and the value that is joined to it, or None; no option for another word."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    if word.startswith("-") and len(word) > 1:
        return word[:2], word[2:] or None
    return "", None


def takes_value(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a value follows an option."""
    if name in options:
        return not options[name].is_flag
    return name.startswith("--") and "." in name


def command_at(words: Sequence[str], options: Mapping[str, Any]) -> int:
    """Where the name of the command stands, after the options before it; the end if nowhere."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        name, value = split_option(words[index])
        index += 2 if takes_value(name, options) and value is None else 1
    return min(index, len(words))
