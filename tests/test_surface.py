"""The public surface is the recorded one, and each change of it has a line in CHANGELOG.md."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "record", Path(__file__).parent / "surface" / "record.py"
)
record = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(record)


@pytest.fixture(scope="module")
def found():
    """The surface of this version."""
    return record.surface()


def test_the_surface_is_the_recorded_one(found):
    now, known = record.changes(found, record.read(record.RECORDED)), record.read(record.CHANGES)
    undone = [f"{line[0].translate({43: 45, 45: 43})}{line[1:]}" for line in known - now]
    changed = "\n".join(sorted([*(now - known), *undone], key=lambda line: line[2:]))
    assert not changed, (
        f"the public surface has changed:\n{changed}\nIf that is meant, run {record.COMMAND}, and "
        "say so in CHANGELOG.md, section Unreleased. What may change: docs/plugins/compatibility.md"
    )


def test_every_change_has_a_line_in_the_changelog():
    untold = "\n".join(record.untold(record.read(record.CHANGES)))
    assert not untold, (
        f"CHANGELOG.md, section Unreleased, has no new line with these names, as code:\n{untold}"
    )


def test_the_surface_has_something_of_everything(found):
    for line in (
        "vq train --codebook-size: value",
        "vq train --no-compile: flag",
        "setting plugins: mapping = {}",
        "preset vqgan-f8: preset",
        "quantizer ema: vqcore-ema",
        "quantizer ema.decay: number >= 0, < 1 = 0.99",
        "hook vq_run_end(run, status)",
        "protocol TrainingRun.step: property int",
        "protocol RunFolder.plugin: (self, name: str) -> Folder",
        "run folder config.yaml.codebook_size: key",
        "run folder metrics.jsonl.loss: key",
        "run folder checkpoints/step-N/manifest.json: file",
        "vq.train: (",
        "vqcore.Manifold: of vqcore.interfaces.manifold",
        "vqcore.interfaces.manifold.Manifold.expmap0: (self, u: Tensor) -> Tensor",
        "vqcore.testing.ManifoldConformance: class(",
        "vq.testing.train_tiny: ",
    ):
        key = line.replace("(run, status)", ": ")
        assert any(each.startswith(key) for each in found), line


def test_what_is_not_ours_is_no_part_of_it(found):
    assert not [line for line in found if " at 0x" in line or "/tmp" in line]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("+ vq train --fast: flag", "- `--fast` trains faster."),
        ("+ vqcore.layer.VectorQuantizer.measure: (self)", "- `VectorQuantizer.measure` measures."),
        ("- quantizer ema.drift: number = 0", "- The option `drift` of `ema` is gone."),
        ("+ setting log_often: boolean = false", "- `--log-often` logs often."),
        ("+ run folder status.json.cause: key", "- `status.json` has the `cause`."),
    ],
)
def test_a_change_is_told_by_a_new_line_that_names_it(monkeypatch, change, line):
    monkeypatch.setattr(record, "unreleased", lambda: ["- Training is faster.", line])
    monkeypatch.setattr(record, "read", lambda _file: set())
    assert record.untold({change}) == []
    monkeypatch.setattr(record, "read", lambda _file: {record.digest(line)})
    assert record.untold({change}) == [change], "a line that was there before tells nothing"


@pytest.mark.parametrize(
    ("owner", "member"),
    [
        ("vq mend: command", "vq mend --deep: flag"),
        ("vqcore.layer.Mender: class()", "vqcore.layer.Mender.deep: (self)"),
        ("protocol Mender: Protocol", "protocol Mender.deep: property int"),
        ("loss mender: vq-mender", "loss mender.deep: boolean = false"),
        ("run folder mender.json: file", "run folder mender.json.deep: key"),
    ],
)
def test_what_is_new_or_gone_as_a_whole_tells_its_members(monkeypatch, owner, member):
    monkeypatch.setattr(
        record, "unreleased", lambda: ["- `mend`, `Mender`, `mender`, `mender.json`"]
    )
    monkeypatch.setattr(record, "read", lambda _file: set())
    for sign in "+-":
        assert record.untold({f"{sign} {owner}", f"{sign} {member}"}) == []
    assert record.untold({f"+ {member}"}) == [f"+ {member}"]
    changed = {f"- {owner}", f"+ {owner}, changed", f"+ {member}"}
    assert record.untold(changed) == [f"+ {member}"], "its owner is neither new nor gone"


@pytest.mark.parametrize(
    "change",
    [
        "+ vqcore.Secret: class()",
        "+ vq.secret: (x)",
        "+ setting secret: boolean = false",
        "+ hook vq_secret: (run)",
        "- preset vqgan-f8: preset",
        "- run folder status.json: file",
        "- run folder status.json.step: key",
        "- hook vq_run_end: (run, status)",
        "+ vq train --secret: flag",
        "+ vqcore.layer.Secret.__init__: (self)",
    ],
)
def test_a_word_of_many_lines_tells_nothing(monkeypatch, change):
    line = (
        "- `vq doctor --json` has, by a `hook` or `setting` of `vqcore.layer`, `vq train`; a secret"
    )
    lines = [line, "`preset`, `run folder`, `vqgan`, `f8`, `status`, step: no-secret, `no-secret`."]
    monkeypatch.setattr(record, "unreleased", lambda: lines)
    monkeypatch.setattr(record, "read", lambda _file: set())
    assert record.untold({change}) == [change]
    name = next(iter(record.names(change)))
    monkeypatch.setattr(record, "unreleased", lambda: [f"- `{name}`"])
    assert record.untold({change}) == []
