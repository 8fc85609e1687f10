"""N steps = k steps, a stop, and N - k more, to the bit; and the runs that resuming refuses."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vq.runs.folder import RunFolder
from vq.runs.folder_lock import locked
from vq.training import ending
from vqcore.errors import RunError
from vqcore.plugin.registry import default_registry

#: Six steps an epoch, the last with a short batch; stops fall into the second and third epoch.
PASSES = ("--batch-size", 256, "--set", "log_every=2", "--set", "warmup_steps=3")
CONSTANT = ("--set", "schedule=constant")
REGULARIZERS = ("--regularizer", "entropy", "--regularizer", "homology")
SPACE = ("--manifold", "poincare", *REGULARIZERS)
PRODUCT = (
    *("--manifold", "product", "--manifold.factors", "poincare,sphere", *REGULARIZERS),
    *("--manifold.factors.0.learn_curvature", "true"),
)
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
#: The start of a report of ours, which a new one may replace.
MARK = '<meta name="generator" content="vq report">'
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
    for file in (file for file in one.checkpoint.iterdir() if file.suffix == ".safetensors"):
        assert file.read_bytes() == (other.checkpoint / file.name).read_bytes()
    assert equal(trainer(one), trainer(other))
    for name in ("psnr", "mse", "perplexity", "codes_used", "steps"):
        assert one.json("summary")[name] == other.json("summary")[name]


def untimed(lines):
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


# -- to the bit -------------------------------------------------------------


def hardest(quantizer):
    """Options that give a quantizer the most state: k-means codes, many of them replaced."""
    known = {option["name"] for option in default_registry().options("quantizer", quantizer)}
    wanted = {"init": "kmeans", "dead_code_threshold": 0.5, "usage_decay": 0.5, "drift": 0.5}
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
        *(PRODUCT if quantizer == "ema" else SPACE),
        "--quantizer",
        quantizer,
        *hardest(quantizer),
        "--set",
        "eval_every=4",
        "--weight-ema",
        0.9,
    )
    whole = train(*choices, "--max-steps", 14, run="whole")
    first = train(*choices, "--max-steps", 8, run="parts")
    assert first.weights != whole.weights
    assert (whole.checkpoint / "training.safetensors").read_bytes() != whole.weights
    parts = resume(first, "--max-steps", 14)
    assert_same_run(whole, parts)
    assert untimed(parts.metrics) == untimed(whole.metrics)
    assert (parts.path / "config.yaml").read_text() == (whole.path / "config.yaml").read_text()
    assert parts.json("status")["status"] == "done"


def test_a_run_in_float64_in_two_parts_is_the_run_in_one(train, resume):
    far = ("--manifold", "lorentz", "--set", "manifold.max_radius=6", "--quantizer", "residual")
    choices = (*PASSES, *CONSTANT, *far, "--precision", "float64", "--weight-ema", 0.9)
    whole = train(*choices, "--max-steps", 10, run="whole")
    first = train(*choices, "--max-steps", 5, run="parts")
    assert_same_run(whole, resume(first, "--max-steps", 10))


def test_a_run_stopped_before_quantize_start_is_the_run_in_one(train, resume):
    choices = (*PASSES, *CONSTANT, "--quantize-start", 5, "--set", "eval_every=4")
    whole = train(*choices, "--max-steps", 8, run="whole")
    first = train(*choices, "--max-steps", 4, run="parts")
    assert "quantize_start = 5 is never reached" in first.result.out
    parts = resume(first, "--max-steps", 8)
    assert_same_run(whole, parts)
    assert untimed(parts.metrics) == untimed(whole.metrics)


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


def rates(run):
    return {line["step"]: line["lr"] for line in run.metrics}


def test_a_run_that_is_extended_approaches_the_longer_schedule(train, resume):
    """From a rate of 0, on a straight line over a tenth of 40 steps, to that of the long run.

    The rate of step s of N is 4e-3 cos^2(pi s/2N), and a line shows that of the next step.
    """
    every = ("--batch-size", 720, "--set", "log_every=1", "--set", "warmup_steps=0")
    whole = train(*every, "--max-steps", 48, run="whole")
    run = train(*every, "--max-steps", 8)
    assert (rates(run)[8], rates(whole)[8]) == (0, pytest.approx(4e-3 * 0.9330, rel=1e-4))
    run = resume(run, "--max-steps", 48)
    assert (
        "resumed with steps = 48 instead of 8: the learning rate goes from 0 to 0.00373 over 4 "
        "steps, its value here in a run of 48 steps (schedule cosine); --schedule and "
        "--lr choose another"
    ) in run.result.out
    expected = {step: rates(whole)[step] * min(1, (step - 7) / 5) for step in range(9, 49)}
    assert {step: rates(run)[step] for step in expected} == pytest.approx(expected, rel=1e-9)
    assert rates(run)[12] == rates(whole)[12]


def test_a_run_resumed_while_it_approaches_the_schedule_is_the_run_in_one(
    train, resume, plugin_file
):
    stopper = plugin_file("stop_at_ten", STOP.format(step=10, signal="SIGINT"))
    runs = []
    for name, plugins, code in (("whole", (), 0), ("parts", ("--plugin-file", stopper), 130)):
        first = train(*PASSES, "--max-steps", 8, run=name)
        runs.append(resume(first, "--max-steps", 50, *plugins, code=code))
    whole, parts = runs
    again = resume(parts, "--set", "plugin_files=[]")
    assert "the learning rate was" not in again.result.out
    assert_same_run(whole, again)


@pytest.mark.parametrize(
    ("given", "said", "last"),
    [
        (
            ("--max-steps", 16, "--set", "schedule=constant"),
            "resumed with steps = 16 instead of 8, schedule = 'constant' instead of 'cosine': the "
            "learning rate goes from 0 to 0.004 in one step, its value here",
            4e-3,
        ),
        (
            ("--max-steps", 16, "--lr", 1e-3),
            "resumed with steps = 16 instead of 8, lr = 0.001 instead of 0.004: the learning rate "
            "goes from 0 to 0.0005 in one step, its value here",
            0,
        ),
        (("--epochs", 3), "resumed with steps = 18 instead of 8: ", 0),
    ],
)
def test_what_the_learning_rate_of_an_extended_run_may_be(train, resume, given, said, last):
    run = train("--batch-size", 256, "--max-steps", 8, "--set", "warmup_steps=0")
    run = resume(run, *given)
    assert said in run.result.out
    (group,) = trainer(run)["optimizer"]["param_groups"]
    assert group["easing"] == {"rate": 0.0, "step": 8, "steps": 1}
    assert group["lr"] == last


def test_a_longer_run_at_a_constant_rate_says_so(train, resume):
    run = train("--batch-size", 720, "--max-steps", 4, "--set", "warmup_steps=0", *CONSTANT)
    said = "resumed with steps = 6 instead of 4: the learning rate stays 0.004, its value here"
    assert said in resume(run, "--max-steps", 6).result.out


def test_an_old_run_with_both_lengths_has_the_fewer_steps(train, resume):
    """Version 0.1 recorded the default epochs beside ``max_steps``."""
    run = train("--epochs", 1, "--max-steps", 100, "--batch-size", 720)
    assert run.steps == [2]
    assert "epochs = 1 ends the run at step 2, before max_steps = 100" in run.result.out
    assert "is complete at step 2" in resume(run).result.out
    assert resume(run, "--max-steps", 5).steps == [2, 4, 5]


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
        patch.setattr(ending, "sum_up", refuse)
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
        (("--set", "optimizer.eps=0.1"), "optimizer"),
        (("--manifold", "sphere"), "manifold"),
        (("--regularizer", "smoothness"), "regularizers"),
        (("--set", "quantizer.commitment_weight=1"), "quantizer"),
        (("--set", "warmup_steps=0", "--max-steps", 20), "warmup_steps"),
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


def test_how_a_step_is_done_may_change(copied_run, resume):
    result = resume(copied_run, "--no-compile", "--cuda-graph").result
    assert "is complete at step 12" in result.out


def test_settings_that_a_run_has_already_are_no_change(copied_run, resume):
    result = resume(
        copied_run, "--seed", 0, "--manifold", "poincare", "--regularizer", "entropy"
    ).result
    assert "is complete at step 12" in result.out


def test_a_run_that_another_process_is_training_is_refused(copied_run, resume, vq):
    with locked(copied_run.path, "--run-dir"):
        before = copied_run.contents()
        error = resume(copied_run, "--max-steps", 14, code=2).result.err
        assert copied_run.contents() == before
        assert vq("compare", copied_run.path).code == 0  # reading needs no lock
    found = f"found process {os.getpid()} on '{socket.gethostname()}'"
    assert f"--resume = '{copied_run.path}': expected a folder that no process is" in error
    assert found in error
    resume(copied_run)


def test_another_process_of_the_same_launch_is_not_refused(copied_run, monkeypatch):
    """Where several start together, the first may hold the lock when the second arrives."""
    monkeypatch.setenv("RANK", "1")
    with locked(copied_run.path, "--resume"):
        RunFolder(copied_run.path).check_resumable()


def test_the_lock_is_taken_before_anything_is_read(copied_run, resume, monkeypatch):
    """Two that start together both see a free folder at first."""
    monkeypatch.setattr(RunFolder, "check_resumable", lambda _: None)
    with locked(copied_run.path, "--run-dir"):
        before = copied_run.contents()
        assert "found process" in resume(copied_run, "--max-steps", 14, code=2).result.err
        assert copied_run.contents() == before


def test_a_run_that_another_machine_may_be_training_is_resumed_with_a_warning(copied_run, resume):
    status = {"status": "running", "pid": 10**30, "host": "elsewhere", "step": 12}
    (copied_run.path / "status.json").write_text(json.dumps(status))
    printed = " ".join(resume(copied_run).result.out.split())
    assert "on 'elsewhere' trains this run: make sure it has ended" in printed


@pytest.mark.parametrize("name", ["checkpoints", "samples", "history", "tensorboard"])
def test_a_run_that_would_write_elsewhere_is_not_resumed(copied_run, resume, tmp_path, name):
    folder, elsewhere = copied_run.path / name, tmp_path / "elsewhere"
    if folder.exists():
        folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    before = copied_run.contents()
    error = resume(copied_run, "--max-steps", 14, code=2).result.err
    assert f"a folder that leads nowhere else, found the link {name} in it" in error
    assert copied_run.contents() == before


def test_resuming_and_reporting_write_through_no_link(copied_run, resume, vq, tmp_path):
    """Every file of the run is a link, and those are too that a guess could find."""
    victim = tmp_path / "victim"
    victim.mkdir()
    run = copied_run.path
    files = [path for path in run.rglob("*") if path.is_file()]
    guesses = [path.with_name(f".{path.name}.tmp") for path in files]
    for path in (*files, *guesses, run / "report.html", run / ".report.html.tmp"):
        if path.parent.parent == run / "checkpoints" or path.name == "log.txt":
            continue
        kept = victim / str(path.relative_to(run)).replace("/", "_")
        path.rename(kept) if path.exists() else kept.write_text(MARK)
        path.symlink_to(kept)
    (run / ".lock").unlink()  # of these two, a link is refused
    before = {path: path.read_bytes() for path in victim.iterdir()}
    resume(copied_run, "--max-steps", 13)
    assert vq("report", run).code == 0
    assert {path: path.read_bytes() for path in victim.iterdir()} == before
    assert [each.name for each in run.iterdir() if each.is_symlink()] != []


@pytest.mark.parametrize("name", ["log.txt", ".lock"])
def test_what_is_written_in_place_is_no_link(copied_run, resume, tmp_path, name):
    (tmp_path / "victim").write_text("kept")
    (copied_run.path / name).unlink()
    (copied_run.path / name).symlink_to(tmp_path / "victim")
    error = resume(copied_run, "--max-steps", 13, code=1).result.err
    assert f"{copied_run.path / name} cannot be written: it is a symbolic link" in error
    assert (tmp_path / "victim").read_text() == "kept"


def test_good_lines_after_a_damaged_one_stay(copied_run, resume):
    file = copied_run.path / "metrics.jsonl"
    first, second, third = file.read_bytes().splitlines(keepends=True)
    bad = [b"{broken}\n", b"\xff\xfe\n", b"[8]\n", b'{"loss": 1}\n', b'{"step": 5, "loss": "x"}\n']
    file.write_bytes(first + bad[0] + second + b"".join(bad[1:]) + third + b'{"step": 16, "lo')
    printed = " ".join(resume(copied_run, "--max-steps", 16).result.out.split())
    assert "metrics.jsonl: 5 damaged lines moved to" in printed
    assert (copied_run.path / "metrics.damaged.jsonl").read_bytes() == b"".join(bad)
    assert file.read_bytes().startswith(first + second + third)
    assert copied_run.steps == [4, 8, 12, 16]


def edited(old, new):
    def edit(run):
        config = run.path / "config.yaml"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            edited("vq-cli/adamw", "vq-cli/adam"),
            "saved with the optimizer 'AdamW', the config has 'Adam'",
        ),
        (
            edited("eps: 1.0e-08", "eps: 1.0e-04"),
            "saved with optimizer.eps = 1e-08, the config has 0.0001",
        ),
    ],
)
def test_a_changed_optimizer_is_refused_before_anything_is_written(
    copied_run, resume, edit, message
):
    edit(copied_run)
    before = copied_run.contents()
    assert message in resume(copied_run, "--max-steps", 14, code=1).result.err
    assert copied_run.contents() == before


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
    "weights are gone": (put("model.safetensors", None), "damaged: No such file"),
    "state is gone": (put("trainer.pt", None), "damaged: No such file"),
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
    if "gone" not in damage:
        error = resume(run, "--max-steps", 16, code=1).result.err
        assert f"{name}: damaged: its size and SHA-256 are not those that were recorded" in error
        assert "step-00000008 is intact; write this name into" in error
    (run.checkpoint / "manifest.json").unlink()  # as in a checkpoint of version 0.1
    before = run.contents()
    result = resume(run, "--max-steps", 16, code=1).result
    assert f"{run.checkpoint / name}: " in result.err
    assert message in result.err
    assert "arbitrary code" not in result.err
    assert run.contents() == before


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("step-00000099\n", "expected a checkpoint beside it; the newest one is step-00000012"),
        (b"\xff\xfe\x00", "expected a plain name"),
        ("../../copied/checkpoints/step-00000012", "expected a plain name"),
        ("samples", "expected a checkpoint beside it"),
        ("step-" + "0" * 100_000, "expected a plain name"),
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
