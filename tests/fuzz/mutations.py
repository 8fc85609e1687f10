"""Random damage to files and settings, and what counts as an answer to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

from vqcore.errors import VQError

#: An answer longer than this prints a value whole.
LONGEST_ANSWER = 4000

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"),
    "", " ", ".", "..", "../../x", "/", "~", "a/b", "a\\b", "a\0b", "x" * 5000, "-0x" + "f" * 5000,
    "\ud800", "\u202e", "[/x]", "[bold", "\x1b[2J", "1e400", "null", "yes", "é", "0", "1",
    [], {}, [[]], [None], {"": 0}, {"name": "x"}, {"name": None}, [0] * 300,
)  # fmt: skip


def mutated_bytes(rng: Random, content: bytes) -> bytes:
    """The content with a few random changes: bits, cuts, repeats, insertions, runs of one byte."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 2, 8, 64, 1024)))
        match rng.randrange(6):
            case 0 if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[start:]
            case 2:
                del data[start:end]
            case 3:
                data[start:start] = data[start:end]
            case 4:
                data[start:start] = rng.randbytes(rng.choice((1, 4, 40)))
            case _:
                data[start:end] = bytes([rng.choice((0, 255, 32, 123))]) * (end - start)
    return bytes(data)


def mutated_value(rng: Random, value: Any) -> Any:
    """A copy of a JSON-like value in which one random place is replaced, dropped or added to."""
    root = [copy.deepcopy(value)]
    places: list[tuple[Any, Any]] = []
    _collect(root, places)
    holder, key = rng.choice(places)
    choice = rng.randrange(8)
    if choice == 0 and holder is not root:
        del holder[key]
    elif choice == 1 and isinstance(holder[key], dict):
        holder[key][rng.choice(("", "x", "name", "é", "a\0"))] = rng.choice(ODD_VALUES)
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return root[0]


def answer(call: Callable[[], Any]) -> str:
    """The message with which a call refuses its input; empty where it accepts it.

    Any other exception than a ``VQError`` passes through: that is what a fuzzer looks for.

    Raises:
        AssertionError: if the message prints a value of many kilobytes, or control characters.
    """
    try:
        call()
    except VQError as error:
        message = str(error)
        assert message.strip(), "an error without a message"
        assert len(message) <= LONGEST_ANSWER, f"{len(message)} characters: {message[:200]}..."
        assert "\x1b" not in message, f"a terminal escape: {message!r}"
        return message
    return ""


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Every (holder, key) inside a value."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        places.append((value, key))
        if isinstance(value[key], dict | list):
            _collect(value[key], places)
