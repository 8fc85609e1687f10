"""Two processes under a launcher's environment train, through the command, what one does."""

import json
import math
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

#: The shared test functions, by path: launched processes run this file as a script.
HELPERS = runpy.run_path(str(Path(__file__).parents[2] / "conftest.py"))
run_vq, TrainedRun = HELPERS["run_vq"], HELPERS["TrainedRun"]
pytestmark = pytest.mark.usefixtures("without_plots")
#: A large eps: with the usual one Adam takes whole steps along gradients of rounding error.
COMMON = (
    "--set",
    "optimizer.eps=1e-3",
    "--codebook-size",
    16,
    "--set",
    "log_every=1",
    "--set",
    "warmup_steps=0",
)
#: Six steps an epoch; the last has 3 samples for two micro-batches on two processes: one is empty.
SHORT = ("--batch-size", 287, "--max-steps", 8)
#: Metrics of rank 0 alone, of its part of the batch or rounded.
OWN = ("images_per_second", "latents_", "codebook_h")
NO_REVIVAL = ("--set", "quantizer.dead_code_threshold=0")
CASES = {
    "plain": ("--max-steps", 12, "--manifold", "poincare", "--regularizer", "homology"),
    "accumulated": (*SHORT, "--set", "accumulate=2", "--quantizer", "ema", *NO_REVIVAL),
    "late term": (*SHORT, "--quantizer", "residual", "--set", "regularizers.homology.every=3"),
    "no network": (
        "--max-steps",
        4,
        "--backbone",
        "patches",
        "--quantizer",
        "ema",
        "--dataset",
        "photos",
    ),
    "vectors": ("--max-steps", 4, "--dataset", "trees", "--backbone", "mlp", "--batch-size", 63),
}
#: A backbone that any user may write: it fails on empty batches, and has unused layers, kernels of
#: five axes and running statistics that differ between the processes.
BORROWED = """
from torch import nn
from vqcore.interfaces.backbone import Backbone
from vqcore import ComponentSpec, hookimpl
VQ_API = 1
class Borrowed(Backbone):
    def __init__(self, *, shape, dim):
        super().__init__()
        self.shape, self.latent_shape = shape, (4,)
        self.norm, self.volume = nn.BatchNorm2d(1), nn.Conv3d(1, 1, 3, padding=1)
        self.unused = nn.Linear(3, 3)
        self.encoder, self.decoder = nn.Linear(64, 4 * dim), nn.Linear(4 * dim, 64)
    def encode(self, x):
        x = self.volume(self.norm(x).unsqueeze(1))
        return self.encoder(x.reshape(len(x), -1)).view(len(x), 4, -1)
    def decode(self, z):
        return self.decoder(z.reshape(len(z), -1)).view(len(z), *self.shape)
@hookimpl
def vq_backbones():
    return [ComponentSpec(name="borrowed", target=__name__ + ":Borrowed", summary="somebody's")]
"""
#: A run folder that is lost: only rank 0 notices.
LOST = """
import shutil
from vqcore import hookimpl
VQ_API = 1
@hookimpl
def vq_step_end(run, step, losses):
    if step == 2:
        shutil.rmtree(run.folder.path)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_processes(folder, world=2):
    """Run ``train_all`` on each rank, as a launcher does; returns exit codes and outputs."""
    environment = os.environ | {
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "VQ_DISABLE_PLUGINS": "vq-report",  # drawing takes longer than training does here
    }
    started = []
    ports = json.dumps([free_port() for _ in range(len(CASES) + 7)])
    for rank in range(world):
        own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PORTS": ports}
        command = [sys.executable, __file__, str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=own, **pipes))
    ended = [process.communicate(timeout=3600) for process in started]
    return [process.returncode for process in started], ended


def vq_on_port(*arguments):
    """``vq`` as one of the processes: each process group needs its own port."""
    first, *rest = json.loads(os.environ["PORTS"])
    os.environ |= {"MASTER_PORT": str(first), "PORTS": json.dumps(rest)}
    return run_vq(*arguments)


def train_all(folder):
    """Every case, a run for one process to resume, and one that one process started."""
    ends = {
        name: vq_on_port("train", *COMMON, *choices, "--run-dir", folder / name)
        for name, choices in CASES.items()
    }
    ends["begun"] = vq_on_port(
        "train",
        *COMMON,
        "--set",
        "schedule=constant",
        "--max-steps",
        4,
        "--run-dir",
        folder / "begun",
    )
    ends["resumed"] = vq_on_port("train", "--resume", folder / "resumed", "--max-steps", 8)
    borrowed = (
        "--backbone",
        "borrowed",
        "--plugin-file",
        folder / "borrowed.py",
        "--set",
        "accumulate=2",
    )
    ends["borrowed"] = vq_on_port(
        "train", *COMMON, *SHORT, *borrowed, "--run-dir", folder / "borrowed"
    )
    ends["stopped"] = stop(folder)
    ends["wrong"] = vq_on_port("train", "--run-dir", folder / "plain")
    lost = ("--plugin-file", folder / "lost.py", "--run-dir", folder / "lost")
    ends["lost"] = vq_on_port(
        "train", *COMMON, "--max-steps", 8, *lost
    )  # it leaves the group as it is
    torch.distributed.destroy_process_group()
    if os.environ["RANK"] == "0":
        ends["killed"] = lose_a_process(folder)
    outcomes = {name: [end.code, end.out, end.err] for name, end in ends.items()}
    (folder / f"ends-{os.environ['RANK']}.json").write_text(json.dumps(outcomes))
    if os.environ["RANK"] == "1":
        lose_a_process(folder)


def stop(folder):
    """Rank 1 receives a signal as soon as rank 0 has logged; rank 0 receives none."""
    log = folder / "stopped" / "metrics.jsonl"

    def send():
        while not log.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ["RANK"] == "1":
        threading.Thread(target=send, daemon=True).start()
    return vq_on_port("train", *COMMON, "--epochs", 100_000, "--run-dir", folder / "stopped")


def lose_a_process(folder):
    """Rank 1 vanishes in the middle of its steps, without a word."""
    if os.environ["RANK"] == "1":
        from vq.training.trainer import Trainer

        before = Trainer.train_step

        def step(self, parts):
            return os._exit(0) if self.step == 3 else before(self, parts)

        Trainer.train_step = step
    return vq_on_port("train", *COMMON, "--max-steps", 8, "--run-dir", folder / "killed")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Runs of two processes, and the exit code and output of each process in each."""
    folder = tmp_path_factory.mktemp("two")
    constant = ("--set", "schedule=constant", "--max-steps", 4)
    assert run_vq("train", *COMMON, *constant, "--run-dir", folder / "resumed").code == 0
    for name, source in (("borrowed", BORROWED), ("lost", LOST)):
        (folder / f"{name}.py").write_text(source)
    codes, written = in_processes(folder)
    assert codes == [0, 0], written
    return folder, [json.loads((folder / f"ends-{rank}.json").read_text()) for rank in range(2)]


def assert_alike(two, one):
    """Every metric of every step to 1e-6, and the weights."""
    assert two.steps == one.steps
    for line, other in zip(two.metrics, one.metrics, strict=True):
        for name, value in other.items():
            if isinstance(value, float) and not name.startswith(OWN):
                close = 1e-5 if name == "grad_norm" else 1e-6  # added up in float32
                assert line[name] == pytest.approx(value, rel=close, abs=1e-7), (name, line["step"])
    weights, others = (load_file(run.checkpoint / "model.safetensors") for run in (two, one))
    for name, value in others.items():
        torch.testing.assert_close(weights[name], value, rtol=5e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(ranks, tmp_path, case):
    folder, ends = ranks
    assert [end[case][0] for end in ends] == [0, 0], ends
    end = run_vq("train", *COMMON, *CASES[case], "--run-dir", tmp_path / "one")
    assert_alike(TrainedRun(folder / case, None), TrainedRun(tmp_path / "one", end))


def test_only_rank_0_logs(ranks):
    _, (first, second) = ranks
    assert "2 processes" in first["plain"][1]
    assert all(second[case][1:] == ["", ""] for case in CASES)


def test_a_run_resumes_in_another_number_of_processes(ranks, tmp_path):
    folder, _ = ranks
    constant = ("--set", "schedule=constant", "--max-steps", 8)
    whole = run_vq("train", *COMMON, *constant, "--run-dir", tmp_path / "whole")
    assert run_vq("train", "--resume", folder / "begun", "--max-steps", 8).code == 0
    for name in ("begun", "resumed"):
        assert_alike(TrainedRun(folder / name, None), TrainedRun(tmp_path / "whole", whole))


def test_an_error_is_reported_once(ranks):
    _, (first, second) = ranks
    assert first["wrong"][0] == second["wrong"][0] == 2
    assert "found files in it" in first["wrong"][2]
    assert second["wrong"][2] == ""


def test_a_network_that_was_written_for_one_process(ranks):
    """It trains, and the held-out metrics are those of the saved weights and statistics."""
    folder, ends = ranks
    assert [end["borrowed"][0] for end in ends] == [0, 0], ends
    run = TrainedRun(folder / "borrowed", None)
    metrics = json.loads(run_vq("evaluate", run.path, "--json").out)
    assert metrics["mse"] == pytest.approx(run.json("summary")["mse"], rel=1e-6)


def test_what_rank_0_cannot_write_ends_all(ranks):
    _, (first, second) = ranks
    assert (first["lost"][0], second["lost"]) == (1, [1, "", ""])
    assert "metrics.jsonl cannot be written: No such file or directory" in first["lost"][2]


def test_a_process_that_vanishes_ends_the_others_in_words(ranks):
    folder, (first, _) = ranks
    code, _, said = first["killed"]
    assert code == 1
    assert "error: another process ended, or cannot be reached: " in said
    assert f"vq train --resume {folder / 'killed'} continues the run" in said
    assert "Traceback" not in said
    status = TrainedRun(folder / "killed", None).json("status")
    assert (status["status"], status["step"]) == ("failed", 3)


def test_a_signal_to_one_process_ends_all(ranks):
    folder, ends = ranks
    assert [end["stopped"][0] for end in ends] == [143, 143], ends
    run = TrainedRun(folder / "stopped", None)
    assert run.json("status")["status"] == "interrupted"
    assert run.json("summary")["steps"] == run.json("status")["step"] == run.steps[-1]
    assert math.isfinite(run.json("summary")["psnr"])


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_sharded_training_is_refused_with_the_reason(vq, monkeypatch, name):
    monkeypatch.setenv(name, "true")
    result = vq("train", "--max-steps", 1)
    assert result.code == 2
    assert f"error: {name}: " in result.err
    assert "launch with plain data parallelism" in result.err


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_all(Path(sys.argv[1]))
