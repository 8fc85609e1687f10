"""Run folders of which one file is damaged, replaced or missing: loading, evaluating, resuming."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import vq
from fuzz.mutations import ODD_VALUES, answer, mutated_bytes, mutated_value
from vq.files import remove
from vq.runs import history
from vq.runs.folder import RunFolder
from vq.runs.trained_run import load_run
from vqcore.plugin.registry import Registry

SETTINGS = {
    "dataset": "trees", "dataset.depth": 3, "dataset.samples": 8, "dim": 2,
    "backbone": "mlp", "backbone.hidden": 4,
    "codebook_size": 4, "max_steps": 2, "batch_size": 4, "log_every": 1, "checkpoint_every": 1,
}  # fmt: skip
#: Without the plots of a run, which take longer than all the rest.
REGISTRY = Registry(disabled=("report", "homology", "prior"))
#: Files of other areas: the config, and what the report alone reads.
OTHERS = ("config.yaml", "env.json", "plugins.json", "codebook.png", "curves.png")


@dataclass(frozen=True)
class Prepared:
    """A good run of three steps, a place for damaged copies, and a folder that links lead to."""

    run: Path
    copy: Path
    outside: Path
    files: list[Path]


def prepare(folder: Path) -> Prepared:
    """Train the run."""
    path = vq.train(settings=SETTINGS, run_dir=folder / "run", registry=REGISTRY).folder.path
    (folder / "outside").mkdir()
    (folder / "outside" / "kept").write_text("kept")
    files = [each.relative_to(path) for each in sorted(path.rglob("*")) if each.is_file()]
    files = [each for each in files if each.name not in OTHERS]
    return Prepared(path, folder / "copy", folder / "outside", files)


def check(rng: Random, prepared: Prepared) -> None:
    """Damage one file of a copy, then read, evaluate and resume it."""
    shutil.rmtree(prepared.copy, ignore_errors=True)
    shutil.copytree(prepared.run, prepared.copy)
    _damage(rng, prepared.copy / rng.choice(prepared.files), prepared.outside)
    if rng.random() < 0.5:
        answer(lambda: vq.evaluate(load_run(prepared.copy, registry=REGISTRY)))
        answer(lambda: RunFolder(prepared.copy).read_metrics())
        history.read(prepared.copy)
    else:
        _resume(rng, prepared)
    assert [each.name for each in prepared.outside.iterdir()] == ["kept"]
    assert (prepared.outside / "kept").read_text() == "kept"


def _resume(rng: Random, prepared: Prepared) -> None:
    """Resume the copy; a refusal leaves it as it was."""
    before = _written(prepared.copy)
    steps = rng.choice((2, 3))  # 2 of them are done already
    refusal = answer(lambda: vq.train(resume=prepared.copy, max_steps=steps, registry=REGISTRY))
    if refusal and "cannot be written" not in refusal:
        changed = dict(before.items() ^ _written(prepared.copy).items())
        assert not changed, f"{refusal}: after {sorted(changed)} were written"


def _damage(rng: Random, file: Path, outside: Path) -> None:
    content = file.read_bytes()
    choice = rng.randrange(10)
    if choice < 4 and file.suffix in (".json", ".jsonl"):
        file.write_text(_changed_lines(rng, content.decode()))
    elif choice < 7:
        file.write_bytes(mutated_bytes(rng, content))
    else:
        remove(file)
        match rng.randrange(6):
            case 0:
                file.mkdir()
            case 1:
                os.mkfifo(file)
            case 2:
                file.symlink_to(outside / rng.choice(("kept", "missing")))
            case 3:
                file.write_bytes(rng.randbytes(rng.choice((0, 1, 500))))
            case 4:
                file.write_text(str(rng.choice(ODD_VALUES)), errors="backslashreplace")
            case _:
                pass


def _changed_lines(rng: Random, text: str) -> str:
    """A line, or the whole text, as a JSON value with one random change."""
    parts = text.splitlines() if text.count("\n{") else [text]
    chosen = rng.randrange(len(parts))
    parts[chosen] = json.dumps(mutated_value(rng, json.loads(parts[chosen])))
    return "\n".join(parts) + "\n"


def _written(run: Path) -> dict[str, Any]:
    """What a refused resume must leave as it was: everything but the lock and the log."""
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name not in (".lock", "log.txt"):
            found[str(path.relative_to(run))] = path.read_bytes()
    return found
