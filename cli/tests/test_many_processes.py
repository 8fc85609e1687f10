"""Two processes under a launcher's environment do, through the command, what one does."""

import json
import math
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vq.processes import shared_folder
from vq.tokens import _shard_writer
from vq_prior.trainer import PriorTrainer
from vqcore.errors import RunError

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
    "accumulated": (
        *SHORT,
        "--set",
        "accumulate=2",
        "--quantizer",
        "ema",
        *NO_REVIVAL,
        "--weight-ema",
        0.9,
    ),
    "late term": (
        *SHORT,
        "--quantizer",
        "residual",
        "--set",
        "regularizers.homology.every=3",
        "--weight-ema",
        0.9,
    ),
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
    "adversarial": (
        *SHORT,
        "--loss",
        "mse",
        "--loss",
        "adversarial",
        "--set",
        "losses.adversarial.channels=4",
        "--set",
        "losses.adversarial.r1=0.1",
        "--set",
        "losses.adversarial.r1_every=2",
        "--set",
        "losses.adversarial.eps=1e-2",
        "--set",
        "losses.adversarial.lr=1e-5",
    ),
    "vectors": ("--max-steps", 4, "--dataset", "trees", "--backbone", "mlp", "--batch-size", 63),
}
#: A discriminator in proportion to the other losses, with micro-batches of which one is empty.
CASES["trained loss"] = (
    *SHORT,
    *("--set", "accumulate=2", "--quantizer", "ema", *NO_REVIVAL),
    *("--plugin-file", Path(__file__).with_name("critic.py"), "--loss", "mse", "--loss", "critic"),
    *("--set", "losses.critic.adaptive=true", "--set", "losses.critic.start=2"),
)
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
    ports = json.dumps([free_port() for _ in range(len(CASES) + 20)])
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
    ends |= encode_all(folder)
    ends |= train_priors(folder)
    ends["evaluated"] = vq_on_port("evaluate", folder / "plain", "--json")
    ends["probed"] = vq_on_port("probe", folder / "plain", *PROBE)
    ends["decoded"] = vq_on_port("decode", folder / "plain", folder / "tokens", "-o", "decoded")
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


ENCODE = ("--shard-size", 100, "--batch-size", 64)
PROBE = ("--json", "--samples", 300, "--seeds", 1)
PRIOR = ("--layers", 1, "--width", 16, "--heads", 2, "--dropout", 0, "--epochs", 3)


def encode_all(folder):
    """A split of 15 shards: all of them, those that are missing, and where something is wrong."""
    rank, tokens, plain = os.environ["RANK"], folder / "tokens", folder / "plain"
    ends = {"encoded": vq_on_port("encode", plain, "train", "-o", tokens, *ENCODE)}
    if rank == "0":
        shutil.copytree(tokens, folder / "continued")
        for number in (1, 2, 3, 8):
            (folder / "continued" / f"shard-{number:05d}.npz").unlink()
        half = folder / "continued" / ".shard-00003.npz.0123456789abcdef.tmp"
        half.write_bytes(b"PK")
    to = ("-o", folder / "continued", *ENCODE)
    ends["continued"] = vq_on_port("encode", plain, "train", *to)

    own = folder / f"machine-{rank}"
    own.mkdir()
    before = Path.cwd()
    os.chdir(own)
    np.save("x.npy", np.full((20, 1, 8, 8), int(rank), np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_folder, "_PAUSE", 0.0)
        ends["elsewhere"] = vq_on_port("encode", plain, "test", "-o", "out", *ENCODE)
    ends["other files"] = vq_on_port("encode", plain, "x.npy", "-o", folder / "x", *ENCODE)
    os.chdir(before)

    write_shard, written = _shard_writer.write_shard, []

    def fail(path, arrays):
        written.append(path)
        if rank == "1" and len(written) == 2:
            raise RunError(f"{path} cannot be written: no space left")
        return write_shard(path, arrays)

    def signal_here(path, arrays):
        if rank == "1":
            os.kill(os.getpid(), signal.SIGINT)
        return write_shard(path, arrays)

    for name, instead in (("full disk", fail), ("signalled", signal_here)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_shard_writer, "write_shard", instead)
            ends[name] = vq_on_port("encode", plain, "train", "-o", folder / name, *ENCODE)
    return ends


def train_priors(folder):
    """A prior, and one that is interrupted by a signal to rank 1 and resumed."""
    ends = {}
    for name in ("accumulated", "late term"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "late term":
                patch.setattr(PriorTrainer, "_train_step", signal_at_step(30))
            ends[f"prior of {name}"] = vq_on_port("prior", folder / name, *PRIOR)
    ends["prior, resumed"] = vq_on_port("prior", folder / "late term", "--resume")
    return ends


def signal_at_step(number):
    before = PriorTrainer._train_step

    def step(self, rows):
        if os.environ["RANK"] == "1" and self.progress.step == number:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, rows)

    return step


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
    for file in (file for file in one.checkpoint.iterdir() if file.suffix == ".safetensors"):
        weights, others = load_file(two.checkpoint / file.name), load_file(file)
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


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def tokens(ranks, tmp_path_factory):
    """What one process encodes."""
    path = tmp_path_factory.mktemp("one") / "tokens"
    assert run_vq("encode", ranks[0] / "plain", "train", "-o", path, *ENCODE).code == 0
    return contents(path)


@pytest.mark.parametrize("name", ["tokens", "continued"])
def test_two_processes_encode_the_same_bytes(ranks, tokens, name):
    folder, (first, second) = ranks
    ends = [each["encoded" if name == "tokens" else name] for each in (first, second)]
    assert [end[0] for end in ends] == [0, 0], ends
    assert "1438 samples of 4 x 4 indices below 16, as uint8, in 15 shards" in ends[0][1]
    assert ends[1][1:] == ["", ""]
    assert contents(folder / name) == tokens


def test_a_folder_that_another_process_does_not_see_is_named(ranks):
    folder, (first, second) = ranks
    assert (first["elsewhere"][0], second["elsewhere"]) == (2, [2, "", ""])
    host = socket.gethostname()
    expected = f"expected a folder that all processes share; process 1 on {host} cannot see there"
    assert expected in first["elsewhere"][2]
    assert [path.name for path in folder.glob("machine-*/out/.*")] == []


def test_an_input_that_differs_between_machines_is_named(ranks):
    _, (first, second) = ranks
    assert (first["other files"][0], second["other files"]) == (2, [2, "", ""])
    assert (
        "process 1 failed: SettingError: PATH = 'x.npy': expected what process 0 reads"
        in (first["other files"][2])
    )


@pytest.mark.parametrize(("name", "code"), [("full disk", 1), ("signalled", 130)])
def test_encoding_stops_in_all_processes_and_continues_in_one(ranks, tokens, name, code):
    folder, (first, second) = ranks
    assert (first[name][0], second[name][0]) == (code, code)
    said = [first[name][1:], second[name][1:]]
    if name == "full disk":
        assert said[0] == ["", ""]
        assert "error: process 1: " in said[1][1]
    else:
        line = f"interrupted; the same command continues: {folder / name}\n"
        assert said == [[line, ""], ["", ""]]
    found = contents(folder / name)
    assert not json.loads(found["manifest.json"])["complete"]
    assert len(found) < len(tokens)
    assert run_vq("encode", folder / "plain", "train", "-o", folder / name, *ENCODE).code == 0
    assert contents(folder / name) == tokens


def test_two_processes_evaluate_and_probe_what_one_does(ranks):
    folder, (first, second) = ranks
    assert [first["evaluated"][0], *second["evaluated"]] == [0, 0, "", ""]
    metrics = json.loads(first["evaluated"][1])
    one = json.loads(run_vq("evaluate", folder / "plain", "--json").out)
    for name in one.keys() - {"seconds"}:
        exact = not isinstance(one[name], float)
        assert metrics[name] == (one[name] if exact else pytest.approx(one[name], rel=1e-6)), name
    assert [first["probed"][0], *second["probed"]] == [0, 0, "", ""]
    assert first["probed"][1] == run_vq("probe", folder / "plain", *PROBE).out


def test_a_command_of_one_process_refuses_several(ranks):
    _, (first, second) = ranks
    expected = "vq decode: expected one process, a launcher started 2; leave the launcher out"
    assert expected in first["decoded"][2]
    assert (first["decoded"][0], second["decoded"]) == (2, [2, "", ""])


@pytest.mark.parametrize("name", ["accumulated", "late term"])
def test_two_processes_train_the_prior_that_one_does(ranks, tmp_path, name):
    """The second is interrupted by a signal to rank 1, and resumed."""
    folder, (first, second) = ranks
    codes = [each[f"prior of {name}"][0] for each in (first, second)]
    if name == "late term":
        assert codes == [130, 130], first[f"prior of {name}"]
        assert f"vq prior {folder / name} --resume continues" in first[f"prior of {name}"][1]
        codes = [each["prior, resumed"][0] for each in (first, second)]
    assert codes == [0, 0], first
    assert second[f"prior of {name}"][1:] == ["", ""]
    assert not (folder / name / "prior-training").exists()
    one = shutil.copytree(folder / name, tmp_path / "one")
    assert run_vq("prior", one, *PRIOR, "--overwrite").code == 0
    both = [path / "prior" for path in (folder / name, one)]
    lines = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in both
    ]
    for line, other in zip(*lines, strict=True):
        assert line == pytest.approx(other | {"seconds": line["seconds"]}, rel=1e-6)
    weights, others = (load_file(path / "model.safetensors") for path in both)
    for key, value in others.items():
        if not key.endswith("qkv.bias"):  # the loss does not depend on that of keys
            torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5, msg=key)


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
