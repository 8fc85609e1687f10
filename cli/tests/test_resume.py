"""N steps = k steps, a stop, and N - k more, to the bit; and the runs that resuming refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vq.training import launch
from vqcore.errors import RunError
from vqcore.plugin.registry import default_registry

#: Six steps an epoch, the last with a short batch; stops fall into the second and third epoch.
PASSES = ("--batch-size", 256, "--set", "log_every=2", "--set", "warmup_steps=3")
CONSTANT = ("--set", "schedule=constant")
SPACE = ("--manifold", "poincare", "--regularizer", "entropy", "--regularizer", "homology")
#: Whatever is registered, so that a new quantizer is covered the day it is added.
QUANTIZERS = sorted(
    spec.name
    for plugin in default_registry().plugins
    for spec in plugin.provides.get("quantizer", ())
)
STOP = """
import os, signal
@hookimpl
def vq_step_end(run, step, losses):
    if step == {step}:
        os.kill(os.getpid(), signal.{signal})
"""
TIMED = ("images_per_second",)


def trainer(run):
    """The trainer's state without the time it took."""
    state = torch.load(run.checkpoint / "trainer.pt", weights_only=True)
    return {name: value for name, value in state.items() if name != "seconds"}


def equal(one, other):
    """Whether nested values are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def assert_same_run(one, other):
    assert one.checkpoint.name == other.checkpoint.name
    assert one.weights == other.weights
    assert equal(trainer(one), trainer(other))
    for name in ("psnr", "mse", "perplexity", "codes_used", "steps"):
        assert one.json("summary")[name] == other.json("summary")[name]


def untimed(lines):
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


# -- to the bit -------------------------------------------------------------


def hardest(quantizer):
    """Options that give a quantizer the most state: k-means codes, many of them replaced."""
    known = {option["name"] for option in default_registry().options("quantizer", quantizer)}
    wanted = {"init": "kmeans", "dead_code_threshold": 0.5, "usage_decay": 0.5}
    return [
        part
        for name in wanted
        if name in known
        for part in ("--set", f"quantizer.{name}={wanted[name]}")
    ]


@pytest.mark.usefixtures("without_homology_plots")
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_run_in_two_parts_is_the_run_in_one(train, resume, quantizer):
    choices = (
        *PASSES,
        *CONSTANT,
        *SPACE,
        "--quantizer",
        quantizer,
        *hardest(quantizer),
        "--set",
        "eval_every=4",
    )
    whole = train(*choices, "--max-steps", 14, run="whole")
    first = train(*choices, "--max-steps", 8, run="parts")
    assert first.weights != whole.weights
    parts = resume(first, "--max-steps", 14)
    assert_same_run(whole, parts)
    assert untimed(parts.metrics) == untimed(whole.metrics)
    assert (parts.path / "config.yaml").read_text() == (whole.path / "config.yaml").read_text()
    assert parts.json("status")["status"] == "done"


@pytest.mark.parametrize(("name", "number"), [("SIGINT", 2), ("SIGTERM", 15)])
def test_a_run_interrupted_by_a_signal_continues_along_its_cosine(
    train, resume, plugin_file, name, number
):
    whole = train(*PASSES, "--max-steps", 14, run="whole")
    stopper = plugin_file(f"stop_at_nine_by_{name.lower()}", STOP.format(step=9, signal=name))
    first = train(
        *PASSES, "--max-steps", 14, "--plugin-file", stopper, run="parts", code=128 + number
    )
    assert first.json("status") == first.json("status") | {"status": "interrupted", "step": 9}
    assert first.json("summary")["steps"] == 9
    assert "test_psnr" not in first.metrics[-1]  # it saves before it evaluates
    assert f"interrupted; resume with: vq train --resume {first.path}" in first.result.out
    assert first.steps == [2, 4, 6, 8, 9]
    parts = resume(first)
    assert_same_run(whole, parts)
    assert parts.steps == [2, 4, 6, 8, 9, 10, 12, 14]
    assert [line["lr"] for line in parts.metrics if line["step"] % 2 == 0] == [
        line["lr"] for line in whole.metrics
    ]
    assert parts.json("status")["status"] == "done"


def test_a_schedule_may_be_extended(train, resume):
    """More epochs stretch the cosine: the rate continues from that of the longer run."""
    first = train(*PASSES, "--max-steps", 8)
    before = load_file(first.checkpoint / "model.safetensors")
    run = resume(first, "--max-steps", 9)
    after = load_file(run.checkpoint / "model.safetensors")
    assert not torch.equal(before["backbone.encoder.0.weight"], after["backbone.encoder.0.weight"])
    run = resume(run, "--max-steps", 12)
    whole = train(*PASSES, "--max-steps", 12, run="whole")
    assert [line["lr"] for line in run.metrics if line["step"] in (8, 9)] == [0, 0]
    assert [line["lr"] for line in run.metrics[-2:]] == [line["lr"] for line in whole.metrics[-2:]]


def test_a_crash_between_checkpoints_costs_the_steps_since_the_last(train, resume):
    choices = (
        *PASSES,
        "--set",
        "checkpoint_every=4",
        "--set",
        "keep_checkpoints=9",
        "--max-steps",
        12,
    )
    whole = train(*choices, run="whole")
    crashed = train(*choices)
    checkpoints = crashed.path / "checkpoints"
    shutil.rmtree(checkpoints / "step-00000012")
    (checkpoints / "latest").write_text("step-00000008\n")
    (crashed.path / "summary.json").unlink()
    with (crashed.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 14, "lo')
    again = resume(crashed)
    assert again.steps == [2, 4, 6, 8, 10, 12]
    assert untimed(again.metrics) == untimed(whole.metrics)
    assert_same_run(whole, again)


def test_a_run_that_failed_at_its_summary_is_finished(train, resume, monkeypatch):
    def refuse(*_):
        raise RunError("summary.json cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(launch, "_sum_up", refuse)
        run = train(code=1)
    assert "summary.json cannot be written" in run.json("status")["error"]
    again = resume(run)
    assert again.json("status")["status"] == "done"
    assert again.json("summary")["steps"] == 8
    assert again.steps == [4, 8]


# -- refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--seed", 1), "seed"),
        (("--lr", 0.1), "optimizer"),
        (("--manifold", "sphere"), "manifold"),
        (("--regularizer", "smoothness"), "regularizers"),
        (("--set", "quantizer.commitment_weight=1"), "quantizer"),
        (("--set", "schedule=constant", "--max-steps", 20), "schedule"),
        (("--dim", 16, "--batch-size", 8), "batch_size, dim"),
    ],
)
def test_a_run_that_has_begun_cannot_change(complete_run, resume, arguments, named):
    before = complete_run.contents()
    result = resume(complete_run, *arguments, code=2).result
    assert (
        f"--resume: {named} cannot change when a run is resumed; these can: accumulate, "
        "checkpoint_every" in result.err
    )
    assert complete_run.contents() == before


def test_settings_that_a_run_has_already_are_no_change(copied_run, resume):
    result = resume(
        copied_run, "--seed", 0, "--manifold", "poincare", "--regularizer", "entropy"
    ).result
    assert "is complete at step 12" in result.out


def test_a_run_that_another_process_is_training_is_refused(copied_run, resume):
    status = json.loads((copied_run.path / "status.json").read_text())
    status |= {"status": "running", "pid": os.getppid()}
    (copied_run.path / "status.json").write_text(json.dumps(status))
    before = copied_run.contents()
    error = resume(copied_run, "--max-steps", 14, code=2).result.err
    assert f"expected a run that no process is training, found process {os.getppid()}" in error
    assert copied_run.contents() == before
    status["host"] = "elsewhere"  # a shared disk: the process is another machine's
    (copied_run.path / "status.json").write_text(json.dumps(status))
    resume(copied_run)


@pytest.mark.parametrize("other", ["--config", "--run-dir"])
def test_resume_has_its_own_folder_and_config(complete_run, resume, other):
    result = resume(complete_run, other, "elsewhere", code=2).result
    assert "leave out --preset, --config and --run-dir" in result.err


def test_what_may_change_does(train, resume):
    run = resume(
        train("--max-steps", 4),
        "--max-steps",
        8,
        "--set",
        "log_every=1",
        "--set",
        "keep_checkpoints=1",
    )
    assert run.steps == [4, 5, 6, 7, 8]
    assert [path.name for path in (run.path / "checkpoints").glob("step-*")] == ["step-00000008"]


@pytest.mark.parametrize("arguments", [(), ("--max-steps", 4)])
def test_a_complete_run_is_reported(copied_run, resume, arguments):
    before = copied_run.contents()
    result = resume(copied_run, *arguments).result
    assert "is complete at step 12: raise --epochs or --max-steps to train further" in result.out
    after = copied_run.contents()
    assert {name for name in after if after[name] != before.get(name)} == {"log.txt"}


def cut(name):
    def damage(run, _train):
        file = run.checkpoint / name
        file.write_bytes(file.read_bytes()[:-100])
        return name

    return damage


def put(name, content):
    def damage(run, _train):
        path = run.checkpoint / name
        path.unlink()
        if content is not None:
            path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        return name

    return damage


def swap(name):
    def damage(run, train):
        other = train("--max-steps", 1, run="other")
        shutil.copy(other.checkpoint / name, run.checkpoint / name)
        return name

    return damage


DAMAGES = {
    "weights cut short": (cut("model.safetensors"), "damaged or not a checkpoint"),
    "state cut short": (cut("trainer.pt"), "damaged or not a checkpoint"),
    "weights are text": (put("model.safetensors", b"not weights"), "damaged or not a checkpoint"),
    "state is text": (put("trainer.pt", b"no state"), "damaged or not a checkpoint"),
    "weights are gone": (put("model.safetensors", None), "damaged or not a checkpoint"),
    "state is gone": (put("trainer.pt", None), "damaged or not a checkpoint"),
    "state of a later format": (
        put("trainer.pt", {"format": 3}),
        "checkpoint format 3: this version reads 2",
    ),
    "state is a list": (put("trainer.pt", [1, 2]), "checkpoint format 'list'"),
    "state is somebody's": (put("trainer.pt", {"epoch": 3}), "checkpoint format None"),
    "state is incomplete": (
        put("trainer.pt", {"format": 2}),
        "not the state of this run: KeyError: 'optimizer'",
    ),
    "weights of another model": (
        swap("model.safetensors"),
        "holds another model than the config describes",
    ),
    "state of another model": (swap("trainer.pt"), "not the state of this run"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_checkpoint_is_refused_by_name(copied_run, train, resume, damage):
    run = copied_run
    apply, message = DAMAGES[damage]
    name = apply(run, train)
    before = run.contents()
    result = resume(run, "--max-steps", 16, code=1).result
    assert f"{run.checkpoint / name}: " in result.err
    assert message in result.err
    assert "arbitrary code" not in result.err
    assert run.contents() == before


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("step-00000099\n", "step-00000099: the checkpoint that"),
        (b"\xff\xfe\x00", "latest names is not there"),
    ],
)
@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",)])
def test_a_pointer_to_nothing(copied_run, vq, command, pointer, message):
    latest = copied_run.path / "checkpoints" / "latest"
    latest.write_bytes(pointer if isinstance(pointer, bytes) else pointer.encode())
    result = vq(*command, copied_run.path)
    assert result.code == 2
    assert message in result.err


def test_a_run_killed_before_its_first_checkpoint_was_named(copied_run, resume):
    (copied_run.path / "checkpoints" / "latest").unlink()
    assert resume(copied_run, "--max-steps", 13).json("summary")["steps"] == 13


def test_a_run_killed_before_its_first_checkpoint_starts_again(copied_run, resume):
    before = copied_run.weights
    shutil.rmtree(copied_run.path / "checkpoints")
    again = resume(copied_run)
    assert "has no checkpoint yet: training starts again" in again.result.out
    assert again.steps == [4, 8, 12]
    assert again.weights == before


@pytest.mark.parametrize("command", [("train", "--resume"), ("evaluate",)])
def test_a_folder_that_is_no_run(vq, tmp_path, command):
    for path in (tmp_path, tmp_path / "nowhere"):
        result = vq(*command, path)
        assert result.code == 2
        assert f"run = '{path}': expected a run folder with a config.yaml in it" in result.err


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path):
    """Two moments; ``kill_and_resume.py --kills 50`` has more."""
    script = Path(__file__).with_name("kill_and_resume.py")
    command = [sys.executable, str(script), "--kills", "2", "--steps", "20", "--longest", "3"]
    environment = os.environ | {"VQ_DISABLE_PLUGINS": "vq-report"}  # the script alone draws too
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    assert ended.returncode == 0, ended.stderr
