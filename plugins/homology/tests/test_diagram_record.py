"""What a run records: a line per log step, metrics in metrics.jsonl, and plots at its end."""

import json
import math

import pytest
import torch
from PIL import Image

from vq_homology import diagram_record
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
EUCLIDEAN = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))


def test_the_diagram_of_a_square_by_hand():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    spread = math.sqrt(0.5)  # each corner is that far from the centre
    found = diagram_record.diagram(square, EUCLIDEAN)
    assert found["h0"] == [pytest.approx(1 / spread, abs=1e-6)] * 3
    assert found["h1"] == [
        [pytest.approx(1 / spread, abs=1e-6), pytest.approx(math.sqrt(2) / spread, abs=1e-6)]
    ]
    assert found["entropy"] == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    "points",
    [torch.zeros(0, 2), torch.zeros(1, 2), torch.zeros(5, 2), torch.full((3, 2), torch.nan)],
)
def test_degenerate_clouds_have_finite_diagrams(points):
    found = diagram_record.diagram(points, EUCLIDEAN)
    assert all(math.isfinite(death) for death in found["h0"])
    assert found["entropy"] == 0.0


def test_reading_skips_a_torn_line_and_truncating_drops_later_steps(tmp_path):
    folder = pytest.importorskip("vq.runs.folder").RunFolder(tmp_path)
    assert diagram_record.read(tmp_path) == []
    for step in (5, 10, 15):
        diagram_record.append(folder, {"step": step})
        with (tmp_path / diagram_record.FILE).open("ab") as file:
            file.write(b'{"step": 2\n\xff\n[]\n')
    assert [line["step"] for line in diagram_record.read(tmp_path)] == [5, 10, 15]
    diagram_record.truncate(folder, 10)
    assert (tmp_path / diagram_record.FILE).read_text().splitlines() == [
        '{"step": 5}',
        '{"step": 10}',
    ]


@pytest.fixture
def train(tmp_path, monkeypatch):
    """A function that runs ``vq train`` on few steps in this process."""
    app = pytest.importorskip("vq.cli.app")

    def run(*arguments):
        small = ("--backbone.hidden", "8", "--codebook-size", "16", "--set", "log_every=4")
        monkeypatch.setattr("sys.argv", ["vq", "train", *small, *arguments])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert not ended.value.code

    return run


@pytest.mark.parametrize("quantizer", ["codebook", "fsq"])
def test_a_run_records_its_homology_and_continues_after_a_resume(train, tmp_path, quantizer):
    train(
        "--quantizer",
        quantizer,
        "--regularizer",
        "homology",
        "--set",
        "regularizers.homology.strength=entropy-ratio",
        "--max-steps",
        "8",
        "--run-dir",
        "run",
    )
    folder = pytest.importorskip("vq.runs.folder").RunFolder(tmp_path / "run")
    record = diagram_record.place(folder)
    assert record.path == tmp_path / "run" / "plugins" / "homology"
    clouds = ["latents"] if quantizer == "fsq" else ["codebook", "latents"]
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    for cloud in clouds:
        assert all(line[f"{cloud}_h0"] > 0 for line in lines)
        assert all(0 < line[f"{cloud}_persistent_entropy"] <= math.log(256) for line in lines)
        with Image.open(record.path / f"homology-{cloud}.png") as image:
            assert image.width > 1000
            assert len(image.convert("L").getcolors()) > 50
    for line in lines:
        assert line["homology_strength"] == 1  # in the first period
        assert 0 < line["homology_code_entropy"] <= 1
        assert 0 < line["homology_input_entropy"] <= 1
    assert [line["step"] for line in diagram_record.read(record.path)] == [4, 8]
    with (record.path / diagram_record.FILE).open("a") as file:
        file.write('{"step": 9}\n')  # as if the run had continued and crashed
    train("--resume", "run", "--max-steps", "12")
    assert [line["step"] for line in diagram_record.read(record.path)] == [4, 8, 12]


def test_a_run_of_version_0_1_keeps_its_record_where_it_is(tmp_path):
    folder = pytest.importorskip("vq.runs.folder").RunFolder(tmp_path)
    (tmp_path / diagram_record.FILE).write_text('{"step": 4}\n{"step": 8}\n')
    diagram_record.truncate(diagram_record.place(folder), 4)
    diagram_record.append(diagram_record.place(folder), {"step": 6})
    assert [line["step"] for line in diagram_record.read(tmp_path)] == [4, 6]
    assert not (tmp_path / "plugins").exists()


def test_a_run_without_the_regularizer_has_no_record(train, tmp_path):
    train("--max-steps", "4", "--run-dir", "run")
    assert not (tmp_path / "run" / "plugins").exists()
