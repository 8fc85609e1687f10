"""The combinations of several values of some settings, from a command line or from Python."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vq.config.plain_values import plain
from vqcore.errors import UsageError, shown, shown_key

#: Most runs in a sweep.
MOST_RUNS = 10_000
_CLOSES = {"[": "]", "{": "}", "(": ")", "'": "'", '"': '"'}
#: Options whose value is a path, which may hold commas.
_PATHS = ("--config", "--plugin-file")


@dataclass(frozen=True)
class Options:
    """What parsing the arguments of ``vq train`` needs to know of its options.

    Attributes:
        flags: options without a value.
        keys: the key path of the setting that an option sets, by the option.
    """

    flags: frozenset[str]
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Axis:
    """A setting with all its values.

    Attributes:
        key: key path of the setting.
        values: as text.
        words: for each value what sets it: arguments of ``vq train``, or a key path and a value.
    """

    key: str
    values: Sequence[str]
    words: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        name: of its run folder, as in ``commitment_weight=0.1,seed=0``.
        settings: the swept settings by key path, without the seed.
        seed: as text; None where seeds are not swept.
        words: what sets all of them, see ``Axis``.
    """

    name: str
    settings: Mapping[str, str]
    seed: str | None
    words: Sequence[Any]


def split_values(text: str) -> list[str]:
    """Split at commas outside brackets and quotes: ``0.1,0.2`` is two values, ``[8,5,5]`` one."""
    values: list[str] = []
    closing: list[str] = []
    start = 0
    for i, letter in enumerate(text):
        if closing and letter == closing[-1]:
            closing.pop()
        elif letter in _CLOSES and (not closing or closing[-1] not in "'\""):
            closing.append(_CLOSES[letter])
        elif letter == "," and not closing:
            values.append(text[start:i].strip())
            start = i + 1
    return [*values, text[start:].strip()]


def read_axes(words: Sequence[str], options: Options) -> list[Axis]:
    """The arguments of ``vq train`` in order; an option with one value is an axis with one.

    Raises:
        UsageError: for an option without its value, an empty value, or a value or swept setting
            given twice.
    """
    axes = list(_axes(words, options))
    swept = [axis.key for axis in axes if len(axis.values) > 1]
    for key in swept:
        if [axis.key for axis in axes].count(key) > 1:
            fix = f"give all values at once, as in {key}=a,b"
            raise UsageError(f"{shown_key(key)}: given several times; {fix}")
    return axes


def python_axes(over: Mapping[str, Sequence[Any]]) -> list[Axis]:
    """Settings with lists of values as axes.

    Raises:
        UsageError: for values that are not a list, or a value given twice.
    """
    return [_python_axis(key, values) for key, values in over.items()]


def points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination, the last axis running fastest.

    Raises:
        UsageError: if there is only one, or more than ``MOST_RUNS``.
    """
    swept = [axis for axis in axes if len(axis.values) > 1]
    if not swept:
        example = "--set quantizer.commitment_weight=0.1,0.25 or --seeds 0,1,2"
        raise UsageError(f"nothing to sweep: give a setting several values, as in {example}")
    short = _short_names([axis.key for axis in swept])
    runs = math.prod(len(axis.values) for axis in swept)
    if runs > MOST_RUNS:
        raise UsageError(f"{runs} combinations, expected {MOST_RUNS} at most; sweep fewer values")
    found: list[Point] = []
    taken: Counter[str] = Counter()
    for numbers in itertools.product(*(range(len(axis.values)) for axis in axes)):
        place = list(zip(axes, numbers, strict=True))
        chosen = {axis.key: axis.values[i] for axis, i in place if axis in swept}
        words = [word for axis, i in place for word in axis.words[i]]
        name = ",".join(f"{short[key]}={_slug(value)}" for key, value in chosen.items())
        taken[name] += 1
        if taken[name] > 1:
            name += f"~{taken[name]}"
        found.append(Point(name, chosen, chosen.pop("seed", None), words))
    return found


def _axes(words: Sequence[str], options: Options) -> Iterator[Axis]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name in options.flags:
            yield Axis(name, [word], [[word]])  # vq train accepts or refuses it
            continue
        if not equals:
            if not rest:
                raise UsageError(f"{shown_key(name)}: expected a value after it")
            value = rest.pop(0)
        yield _axis(name, value, options)


def _axis(option: str, value: str, options: Options) -> Axis:
    key = options.keys.get(option, option.removeprefix("--"))
    prefix = ""
    if option == "--set":
        key, equals, value = value.partition("=")
        prefix = f"{key}{equals}"
    values = [value] if option in _PATHS else split_values(value)
    if len(values) > 1 and "" in values:
        raise UsageError(f"{shown_key(key)} = {shown(value)}: an empty value among several")
    _check_distinct(key, values, value)
    return Axis(key, values, [[option, f"{prefix}{each}"] for each in values])


def _python_axis(key: str, values: Sequence[Any]) -> Axis:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise UsageError(
            f"{shown_key(key)} = {shown(values)}: expected a list of the values to sweep"
        )
    texts = [str(value) for value in plain(values, key)]
    _check_distinct(key, texts, values)
    return Axis(key, texts, [[(key, value)] for value in values])


def _check_distinct(key: str, values: Sequence[str], given: Any) -> None:
    if len(set(values)) < len(values):
        raise UsageError(f"{shown_key(key)} = {shown(given)}: a value given twice")


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key path, or all of it where two have the same last part."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")[:40]
