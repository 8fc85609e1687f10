"""What a run leaves behind: every file, what is in it, and that it stands alone."""

import errno
import json
import math
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from vq.checkpoints import checkpoint
from vq.config.config_file import read_config
from vq.config.resolved_config import resolve_config
from vq.files import write_json
from vq.models.autoencoder import build_model, build_source
from vq.runs import history
from vq.runs.folder import RunFolder
from vq.runs.trained_run import read_sample_spec
from vq.training import launch
from vq.training.callbacks import evaluate as evaluation
from vqcore.errors import RunError, SettingError, UsageError
from vqcore.plugin.registry import default_registry

SUMMARY = {
    "loss",
    "reconstruction",
    "commitment",
    "psnr",
    "mse",
    "perplexity",
    "codes_used",
    "dead_codes",
    "quantization_error",
    "codebook_size",
    "codebooks",
    "samples",
    "weights",
    "steps",
    "seconds",
    "images_per_second",
}


def load(run):
    """The trained model of a run in eval mode, and its data."""
    config = resolve_config(read_config(run.path / "config.yaml"), default_registry())
    source = build_source(config, default_registry())
    model = build_model(config, default_registry(), source).eval()
    checkpoint.load_weights(checkpoint.latest(run.path / "checkpoints"), model)
    return model, source


def held_out(source, count):
    """As many held-out samples, spread evenly over the split."""
    split = source.split("test")
    order = torch.linspace(0, len(split) - 1, count).long()
    return next(split.batches([order], torch.device("cpu")))


# -- the files --------------------------------------------------------------


def test_every_file_is_there_and_no_other(complete_run):
    steps = ["step-00000008", "step-00000012"]
    assert set(complete_run.contents()) == {
        "config.yaml",
        "signature",
        "metrics.jsonl",
        "summary.json",
        "status.json",
        "plugins.json",
        "data.json",
        "env.json",
        "log.txt",
        "curves.png",
        "codebook.png",
        ".lock",
        "checkpoints/latest",
        *(
            f"checkpoints/{step}/{name}"
            for step in steps
            for name in ("model.safetensors", "trainer.pt", "manifest.json")
        ),
        *(f"samples/{step}.png" for step in ("step-00000004", *steps)),
        *(f"history/{step}.npz" for step in ("step-00000004", *steps)),
    }


def test_the_summary_holds_the_held_out_metrics(complete_run):
    summary = complete_run.json("summary")
    assert set(summary) == SUMMARY
    assert (
        summary["steps"],
        summary["samples"],
        summary["codebook_size"],
        summary["codebooks"],
    ) == (12, 359, 16, 1)
    assert 0 < summary["mse"] < 1
    assert summary["psnr"] == -10 * math.log10(summary["mse"])
    assert 1 <= summary["perplexity"] <= summary["codes_used"] <= 16
    assert 0 < summary["seconds"] < math.inf
    assert summary["images_per_second"] > 0


def test_metrics_are_a_line_a_log_step(complete_run):
    assert complete_run.steps == [4, 8, 12]
    for line in complete_run.metrics:
        expected = {
            "loss",
            "reconstruction",
            "commitment",
            "entropy",
            "perplexity",
            "codes_used",
            "bad_tokens",
            "lr",
        }
        assert expected <= set(line)
        terms = line["reconstruction"] + line["commitment"] + line["entropy"]
        assert line["loss"] == pytest.approx(terms, rel=1e-6)
        assert line["bad_tokens"] == 0
    last, summary = complete_run.metrics[-1], complete_run.json("summary")
    for name in ("psnr", "mse", "perplexity", "codes_used"):
        assert last[f"test_{name}"] == summary[name]


def test_held_out_metrics_come_every_eval_every_steps(train):
    run = train("--max-steps", 10, "--set", "log_every=3", "--set", "eval_every=4")
    assert run.steps == [3, 4, 6, 8, 9, 10]
    assert [line["step"] for line in run.metrics if "test_psnr" in line] == [4, 8, 10]


def test_losses_are_means_since_the_last_line(train):
    every = train("--set", "log_every=1", "--max-steps", 4, run="every").metrics
    once = train("--set", "log_every=4", "--max-steps", 4, run="once").metrics
    for name in ("loss", "reconstruction", "commitment", "quantization_error"):
        assert once[0][name] == pytest.approx(sum(line[name] for line in every) / 4, rel=1e-12)
    assert every[-1]["lr"] == once[0]["lr"]


def test_watching_a_run_changes_nothing_of_it(train):
    """Evaluation, plots and checkpoints after every step do not change the weights."""
    often = [
        part
        for name in ("log", "eval", "sample", "checkpoint")
        for part in ("--set", f"{name}_every=1")
    ]
    for quantizer in ("codebook", "ema"):
        plain = train("--quantizer", quantizer, run=f"{quantizer}-plain")
        watched = train("--quantizer", quantizer, *often, run=f"{quantizer}-watched")
        assert watched.steps == list(range(1, 9))
        assert watched.weights == plain.weights


def test_speed_counts_training_alone(train, monkeypatch):
    """Evaluation advances this clock by a million seconds: the run takes them, its steps do not."""
    behind, clock, evaluate = [0.0], time.perf_counter, evaluation.evaluate

    def slow(*arguments):
        behind[0] += 1e6
        return evaluate(*arguments)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + behind[0])
    monkeypatch.setattr(evaluation, "evaluate", slow)
    run = train("--set", "eval_every=1", "--set", "log_every=1", "--max-steps", 3)
    assert min(line["images_per_second"] for line in run.metrics) > 1
    assert run.json("summary")["images_per_second"] > 1
    assert 2e6 <= run.json("summary")["seconds"] < 3e6


def test_the_config_repeats_the_run_to_the_bit(complete_run, vq, without_plots):
    result = vq("train", "--config", complete_run.path / "config.yaml", "--run-dir", "again")
    assert result.code == 0, result
    again = type(complete_run)("again", result)
    assert again.weights == complete_run.weights
    assert (again.path / "config.yaml").read_text() == (
        complete_run.path / "config.yaml"
    ).read_text()
    fixed = [name for name in SUMMARY if name not in ("seconds", "images_per_second")]
    assert [again.json("summary")[n] for n in fixed] == [
        complete_run.json("summary")[n] for n in fixed
    ]


def test_another_seed_is_another_run(train):
    assert train("--seed", 0, run="a").weights != train("--seed", 1, run="b").weights


def test_the_config_names_every_setting(complete_run):
    written = yaml.safe_load((complete_run.path / "config.yaml").read_text())
    assert written["manifold"]["name"] == "vqcore-hyperbolic/poincare"
    assert written["quantizer"] == written["quantizer"] | {"name": "vqcore-ema/ema", "decay": 0.99}
    assert written["regularizers"]["vqcore/entropy"]["weight"] == 0.1
    assert (written["max_steps"], written["codebook_size"], written["seed"]) == (12, 16, 0)


def test_status_plugins_and_environment(complete_run, vq):
    status = complete_run.json("status")
    assert (status["status"], status["step"], status["pid"]) == ("done", 12, os.getpid())
    listed = json.loads(vq("list-plugins", "--json").out)
    for recorded, row in zip(complete_run.json("plugins"), listed, strict=True):
        assert recorded.items() <= row.items()
    names = [row["plugin"] for row in complete_run.json("plugins")]
    assert {"builtin", "pipeline", "ema", "hyperbolic"} <= set(names)
    environment = complete_run.json("env")
    assert environment["packages"]["torch"] == metadata.version("torch")
    assert (environment["device"], environment["processes"]) == ("cpu", 1)
    assert {"python", "platform", "device_name", "threads", "cpus"} <= set(environment)


def test_the_log_holds_what_was_printed(complete_run):
    log = (complete_run.path / "log.txt").read_text()
    for text in (
        "digits-poincare-ema-rotation-entropy: 1438 samples",
        "step 8/12  loss",
        "psnr",
        "run folder:",
    ):
        assert text in log
        assert text in complete_run.result.out


# -- plots ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["curves.png", "codebook.png", "samples/step-00000004.png"])
def test_plots_open_and_are_not_blank(complete_run, name):
    with Image.open(complete_run.path / name) as picture:
        picture.load()
        pixels = np.asarray(picture.convert("RGB"), dtype=float)
    assert min(pixels.shape[:2]) >= 100
    assert pixels.std() > 10
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_samples_show_inputs_beside_reconstructions(complete_run):
    """Digits are enlarged six times; a pair has margins of 4 pixels at its sides, of 2 above."""
    model, source = load(complete_run)
    batch = held_out(source, 16)
    decoded = model.decode(model.encode(batch)).clamp(-1, 1)
    with Image.open(complete_run.path / "samples/step-00000012.png") as picture:
        pixels = np.asarray(picture, dtype=float)
    assert pixels.shape == (2 * 52, 8 * 104, 3)
    for number in (0, 9):
        row, column = divmod(number, 8)
        pair = pixels[row * 52 + 2 :, column * 104 + 4 :][3:48:6, 3:96:6, 0]
        for found, shown in zip(np.split(pair, 2, 1), (batch, decoded), strict=True):
            expected = (shown[number, 0].numpy() + 1) / 2 * 255
            assert np.abs(found - expected).max() <= 0.51


def test_epochs_that_are_asked_for_have_a_picture_and_change_nothing(train, resume):
    """An epoch of digits is 6 steps of 256; the last one of the run is 12."""
    plain = ("--batch-size", 256, "--max-steps", 12)
    asked = [word for epoch in (0, 1, 9) for word in ("--sample-epoch", epoch)]
    runs = train(*plain, run="plain"), train(*plain, *asked, run="asked")
    assert runs[0].weights == runs[1].weights
    assert "sample_epochs = 9 is never reached" in runs[1].result.out
    pictures = sorted(path.stem for path in (runs[1].path / "samples").iterdir())
    assert pictures == ["step-00000000-epoch-0", "step-00000006-epoch-1", "step-00000012"]
    contents = runs[1].contents()
    resume(runs[1], "--max-steps", 14, "--sample-every", 13)
    pictures = sorted(path.stem for path in (runs[1].path / "samples").iterdir())
    assert pictures[3:] == ["step-00000013", "step-00000014"]
    first = f"samples/{pictures[0]}.png"
    assert runs[1].contents()[first] == contents[first]


def test_vectors_are_shown_as_rows(train):
    run = train(
        "--dataset", "trees", "--set", "dataset.depth=4", "--backbone", "mlp", "--max-steps", 2
    )
    with Image.open(run.path / "samples/step-00000002.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    bits = held_out(load(run)[1], 15)  # all there are
    width = pixels.shape[1] // 15
    for number in range(2):
        cells = pixels[number * 18, width // 2 :: width]
        assert np.array_equal(cells, bits[number].numpy() * 255)


# -- a place of its own -----------------------------------------------------


@pytest.mark.parametrize("held", ["a run", "a file", "the path is a file"])
def test_a_folder_with_anything_in_it_is_never_written_into(train, vq, tmp_path, monkeypatch, held):
    target = tmp_path / "run"
    if held == "a run":
        run = train()
    elif held == "a file":
        target.mkdir()
        (target / "thesis.txt").write_text("do not lose")
    else:
        target.write_text("do not lose")
    before = run.contents() if held == "a run" else None
    monkeypatch.setattr(
        launch, "launch", lambda *_, **__: pytest.fail("reported after torch was imported")
    )
    result = vq("train", "--run-dir", target, "--max-steps", 1)
    assert result.code == 2
    assert f"--run-dir = '{target}': expected a new or empty folder" in result.err
    if held == "a run":
        assert f"vq train --resume {target}" in result.err
        assert run.contents() == before
    else:
        kept = target / "thesis.txt" if held == "a file" else target
        assert kept.read_text() == "do not lose"


def test_an_empty_folder_may_be_chosen(train, tmp_path):
    (tmp_path / "run").mkdir()
    assert train("--max-steps", 1).json("status")["status"] == "done"


def test_runs_of_the_same_second_lie_side_by_side(vq, without_plots, tmp_path, monkeypatch):
    now = time.strftime("%Y%m%d-%H%M%S")
    monkeypatch.setattr(time, "strftime", lambda *_: now)
    arguments = (
        "--set",
        "backbone.hidden=8",
        "--max-steps",
        1,
        "--quantizer",
        "ema",
        "--estimator",
        "rotation",
    )
    for _ in range(2):
        result = vq("train", *arguments)
        assert result.code == 0, result
    found = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert found == [
        f"{now}-digits-euclidean-ema-rotation",
        f"{now}-digits-euclidean-ema-rotation-2",
    ]
    assert re.fullmatch(r"\d{8}-\d{6}", now)
    assert f"run folder: runs/{found[1]}" in result.out


def test_runs_of_the_same_moment_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    together = threading.Barrier(8)

    def create(_):
        together.wait()
        return RunFolder.create(None, "title").path

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 8


@pytest.mark.parametrize("arguments", [("--run-dir", "place/run"), ()])
def test_a_place_that_cannot_be_written_is_reported_first(vq, tmp_path, monkeypatch, arguments):
    def read_only(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "mkdir", read_only)
    result = vq("train", *arguments, "--max-steps", 1)
    assert result.code == 2
    assert "--run-dir = " in result.err
    assert "expected a place that can be written: Read-only file system" in result.err
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file_cannot_be(vq, tmp_path):
    (tmp_path / "file").write_text("here")
    result = vq("train", "--run-dir", "file/run", "--max-steps", 1)
    assert result.code == 2
    assert (
        "--run-dir = 'file/run': expected a place that can be written: Not a directory"
        in result.err
    )


REFUSING = """
from vqcore import ComponentSpec, Regularizer, hookimpl
from vqcore.errors import SettingError
VQ_API = 1
@hookimpl
def vq_regularizers():
    target = "refusing:Refusing"
    return [ComponentSpec(name="refusing", target=target, summary="wants more latents")]
class Refusing(Regularizer):
    def __init__(self):
        super().__init__()
    def forward(self, batch):
        raise SettingError("regularizers.refusing", len(batch.z), "more latents")
"""


def test_a_mistake_that_shows_with_the_first_batch_leaves_no_folder(vq, tmp_path):
    (tmp_path / "refusing.py").write_text(REFUSING)
    for where in ((), ("--run-dir", "mine")):
        result = vq("train", "--plugin-file", "refusing.py", "--regularizer", "refusing", *where)
        assert result.code == 2
        assert "regularizers.refusing = 1024: expected more latents" in result.err
    (tmp_path / "refusing.py").unlink()
    assert not [path for path in tmp_path.rglob("*.*") if "__pycache__" not in path.parts]
    assert not (tmp_path / "mine").exists()
    assert not list((tmp_path / "runs").iterdir())


def test_a_failed_run_is_recorded(train):
    run = train("--lr", "1e30", code=1)
    status = run.json("status")
    assert status["status"] == "failed"
    assert "nan" in status["error"]
    assert not (run.path / "summary.json").exists()


# -- RunFolder --------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path / "run", "title")
    write_json(folder.summary, {"psnr": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full)
            with pytest.raises(
                RunError, match=r"summary.json cannot be written: No space left on device"
            ):
                write_json(folder.summary, {"psnr": 2})
        assert json.loads(folder.summary.read_text()) == {"psnr": 1}
        assert sorted(path.name for path in folder.path.iterdir()) == ["summary.json"]


def test_metrics_rewind_to_a_step(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "title")
    assert folder.read_metrics() == []
    for step in (4, 8, 12):
        folder.append_metrics({"step": step})
    with folder.metrics.open("a") as file:
        file.write('{"step": 16, "lo')
    assert [line["step"] for line in folder.read_metrics()] == [4, 8, 12]
    folder.rewind_metrics(8)
    assert folder.metrics.read_text() == '{"step": 4}\n{"step": 8}\n'


def test_only_a_run_folder_opens(tmp_path):
    with pytest.raises(SettingError, match=r"expected a run folder with a config.yaml in it"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "done"), [('{"status": "done"}', 1), ('{"status": "failed"}', 0), ("[]", 0)]
)
def test_whether_a_run_is_done(tmp_path, text, done):
    folder = RunFolder.create(tmp_path / "run", "title")
    assert not folder.is_done()
    folder.status.write_text(text)
    assert folder.is_done() == done


DATA = {"shape": [1, 8, 8], "value_range": [-1.0, 1.0], "likelihood": "gaussian"}


@pytest.mark.parametrize(
    "text",
    [
        "", "7", "[]", "null", "[" * 100_000, "\udcff",
        *(
            json.dumps(DATA | change).replace('"1e400"', "1e400")
            for change in (
                {"shape": ["1e400"]}, {"shape": []}, {"shape": 7}, {"shape": [0]}, {"shape": [-8]},
                {"shape": [1.5]}, {"shape": [10**30]}, {"shape": [2**20] * 3}, {"shape": "188"},
                {"value_range": ["1e400", 1]}, {"value_range": [1, -1]}, {"value_range": [1]},
                {"value_range": [0, 10**400]}, {"value_range": "01"}, {"stored_range": [None, 1]},
                {"sample_rate": 0}, {"sample_rate": 1.5}, {"frame_stride": "2"},
                {"likelihood": "x" * 10_000}, {"likelihood": []},
            )
        ),
    ],
)  # fmt: skip
def test_damaged_metadata_of_the_data_is_refused_in_words(tmp_path, text):
    folder = RunFolder.create(tmp_path / "run", "title")
    folder.data.write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"data.json: expected the shape, range and") as caught:
        read_sample_spec(folder)
    assert len(str(caught.value)) < 1000


def test_bad_lines_are_left_out_and_reading_writes_nothing(tmp_path, caplog):
    """Infinity is a number: the PSNR of a perfect reconstruction."""
    folder = RunFolder.create(tmp_path / "run", "title")
    good = [b'{"step": 1, "test_psnr": Infinity}', b'{"step": 2, "codebooks": [{"a": 1.5}]}']
    bad = [
        b"null", b"7", b"{}", b'{"step": true}', b'{"step": 1.0}', b'{"step": -1}',
        b'{"step": "1"}',
        b'{"step": 1, "loss": null}', b'{"step": 1, "loss": "x"}', b'{"step": 1, "loss": [true]}',
        b'{"step": 1, "loss": 1' + b"0" * 400 + b"}", b'{"step": 1, "\\ud800": 1}', b"\x00" * 9,
        b"[" * 100_000, b'{"step": 1, "loss": ' + b"9" * 5000 + b"}", b"\xff",
    ]  # fmt: skip
    content = b"\n".join([good[0], *bad, b"", b"  ", good[1], b'{"step": 3, "lo'])
    folder.metrics.write_bytes(content)
    assert folder.read_metrics() == [json.loads(line) for line in good]
    assert caplog.messages == [f"{folder.metrics}: {len(bad)} damaged lines left out"]
    assert folder.metrics.read_bytes() == content
    assert [path.name for path in folder.path.iterdir()] == ["metrics.jsonl"]
    folder.rewind_metrics(1)
    assert folder.metrics.read_bytes() == good[0] + b"\n"
    aside = folder.path / "metrics.damaged.jsonl"
    assert aside.read_bytes() == b"".join(line + b"\n" for line in bad)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "title")
    (folder.path / "history").mkdir()
    token = "0123456789abcdef"
    ours = [f".metrics.jsonl.{token}.tmp", f"history/.step-00000004.npz.{token}.tmp"]
    others = [".notes.tmp", f".report.html.{token}.tmp", f"history/.mine.{token}.tmp"]
    for name in (*ours, *others):
        (folder.path / name).write_text("")
    folder.remove_leftovers()
    found = [str(path.relative_to(folder.path)) for path in folder.path.rglob("*")]
    assert sorted(found) == sorted(["history", *others])


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("codes0"),
        lambda arrays: arrays.update(codes0=arrays["codes0"].astype(np.int64)),
        lambda arrays: arrays.update(codes0=arrays["codes0"][..., None]),
        lambda arrays: arrays.update(chosen0=arrays["chosen0"][1:]),
        lambda arrays: arrays.update(chosen0=arrays["chosen0"].astype(float)),
        lambda arrays: arrays.update(counts0=np.array("x")),
        lambda arrays: arrays.update(counts1=arrays["counts0"]),
        lambda arrays: arrays.update(codes1=np.zeros(2**17)),  # a small file, a large array
    ],
)
def test_a_snapshot_of_odd_arrays_is_left_out(copied_run, change, monkeypatch):
    monkeypatch.setattr(history, "LARGEST", 2**19)
    first, *_ = sorted((copied_run.path / "history").iterdir())
    before = history.read(copied_run.path)
    with np.load(first) as file:
        arrays = dict(file)
    change(arrays)
    np.savez_compressed(first, **arrays)
    after = history.read(copied_run.path)
    assert [each.step for each in after] == [each.step for each in before[1:]]
