"""From words with several values to one command line each: ``--lr 1e-3,3e-3`` is two."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vqcore.errors import UsageError

_CLOSES = {"[": "]", "{": "}", "(": ")", "'": "'", '"': '"'}


@dataclass(frozen=True)
class Options:
    """What must be known of the options of ``vq train`` to read its words without it.

    Attributes:
        flags: options without a value.
        whole: options whose value is never split, since it is a path.
        keys: the key path of the setting that an option sets, by the option.
    """

    flags: frozenset[str]
    whole: frozenset[str]
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """One option or setting with all its values.

    Attributes:
        key: key path of the setting.
        values: as they were written.
        words: for each value, what ``vq train`` is told.
    """

    key: str
    values: Sequence[str]
    words: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        name: of its run folder, as in ``commitment_weight=0.1,seed=0``.
        settings: value by key path, of what is swept; the seed apart.
        seed: as it was written; None where seeds are not swept.
        words: the whole command line of ``vq train``.
    """

    name: str
    settings: Mapping[str, str]
    seed: str | None
    words: Sequence[str]


def split_values(text: str) -> list[str]:
    """Split at commas that stand in no bracket and no quotes: ``0.1,0.2`` is two values, ``[8,5,5]`` one."""
    values, closing, start = [], [], 0
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
    """The words of ``vq train`` in their order; what has one value is an axis with one.

    Raises:
        UsageError: for an option without its value, an empty value, a value or a swept setting given twice.
    """
    axes = list(_axes(words, options))
    swept = [axis.key for axis in axes if len(axis.values) > 1]
    for key in swept:
        if [axis.key for axis in axes].count(key) > 1:
            raise UsageError(
                f"{key}: given several times; give all values at once, as in {key}=a,b"
            )
    return axes


def points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination, the last axis running fastest.

    Raises:
        UsageError: if there is only one.
    """
    swept = [axis for axis in axes if len(axis.values) > 1]
    if not swept:
        example = "--set quantizer.commitment_weight=0.1,0.25 or --seeds 0,1,2"
        raise UsageError(f"nothing to sweep: give several values of something, as in {example}")
    short = _short_names([axis.key for axis in swept])
    found: list[Point] = []
    for numbers in itertools.product(*(range(len(axis.values)) for axis in axes)):
        chosen = {
            axis.key: axis.values[i] for axis, i in zip(axes, numbers, strict=True) if axis in swept
        }
        words = [word for axis, i in zip(axes, numbers, strict=True) for word in axis.words[i]]
        name = ",".join(f"{short[key]}={_slug(value)}" for key, value in chosen.items())
        taken = sum(point.name == name or point.name.startswith(f"{name}~") for point in found)
        seed = chosen.pop("seed", None)
        found.append(Point(f"{name}~{taken + 1}" if taken else name, chosen, seed, words))
    return found


def _axes(words: Sequence[str], options: Options) -> Iterator[Axis]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name in options.flags:
            yield Axis(name, [word], [[word]])  # whatever it is, vq train's own reading judges it
            continue
        if not equals:
            if not rest:
                raise UsageError(f"{name}: expected a value after it")
            value = rest.pop(0)
        yield _axis(name, value, options)


def _axis(option: str, value: str, options: Options) -> Axis:
    key, prefix = options.keys.get(option, option.removeprefix("--")), ""
    if option == "--set":
        key, equals, value = value.partition("=")
        prefix = f"{key}{equals}"
    values = [value] if option in options.whole else split_values(value)
    if len(values) > 1 and "" in values:
        raise UsageError(f"{key} = {value!r}: an empty value among several")
    if len(set(values)) < len(values):
        raise UsageError(f"{key} = {value!r}: a value given twice")
    return Axis(key, values, [[option, f"{prefix}{each}"] for each in values])


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key path, or all of it where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")[:40]
