"""The input of ``vq encode``: files, or a split of the run's own data set."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.config.merging import shown_names
from vq.data.read_samples import Inputs, is_plain, read_samples
from vq.data.skipping import without_skipping
from vq.runs.provenance import sha256_of
from vq.runs.trained_run import TrainedRun
from vq.tokens.given_path import SPLITS, check_given
from vqcore.errors import printable
from vqcore.interfaces.dataset import Split


@dataclass(frozen=True)
class Reading:
    """Samples in a fixed order, and what identifies them.

    Attributes:
        inputs: the samples, their names, and the files left out.
        given: the path as it was given.
        sha256: of the bytes of a single file, of the names and sizes of a folder's images, or of a
            data set's options and number of samples.
    """

    inputs: Inputs
    given: str
    sha256: str


def read(run: TrainedRun, path: Path, **options: Any) -> Reading:
    """Samples for the run's model, from files or from a split: see ``encode``.

    Raises:
        SettingError: if nothing there can be read, or it does not fit the model.
    """
    if str(path) in SPLITS:
        split = without_skipping(run.source.split(str(path)))  # type: ignore[arg-type]
        dataset = shown_names(run.config.components["dataset"].dump())
        identity = json.dumps([str(path), len(split), dataset], sort_keys=True)
        inputs = Inputs(split, _names_of(split), classes=run.source.classes)
        return Reading(inputs, str(path), _digest(identity))
    file = check_given(path).expanduser()
    inputs = read_samples(path, run.samples, **options)
    identity = sha256_of(file) if file.is_file() else _listing(file, inputs)
    return Reading(inputs, printable(str(path)), identity)


def _names_of(split: Split) -> list[str]:
    """The names of a split's samples; the number of one that has none, or none to write down."""
    if split.names is None:
        return [str(row) for row in range(len(split))]
    names: dict[str, None] = {}
    for row, name in enumerate(split.names):
        names[name if name not in names and is_plain(name) else str(row)] = None
    return list(names)


def _listing(folder: Path, inputs: Inputs) -> str:
    names = sorted([*inputs.names, *inputs.skipped])
    return _digest(json.dumps([[name, _size(folder / name)] for name in names]))


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except NotADirectoryError:  # a segment of a recording
        return file.parent.stat().st_size
    except OSError:  # skipped: a link to nothing, or a name that had to be escaped
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
