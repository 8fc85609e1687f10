"""A checkpoint is complete or absent, and what is read back is what was written."""

import errno
import os
import pickle
import random
import resource
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from vq.checkpoints import checkpoint
from vq.checkpoints.optimizer_state import check_optimizer_state
from vq.checkpoints.random_state import random_state, restore_random_state
from vqcore import VectorQuantizer
from vqcore.errors import RunError, UsageError


def model(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 8, 4), nn.BatchNorm2d(8), nn.Linear(5, 5000))
    return layers.to(memory_format=torch.channels_last)


def save(folder, step, module=None, keep=2, **state):
    return checkpoint.save(
        folder, step, module or model(step), {"optimizer": {"lr": 0.5}, **state}, keep
    )


def same(one, other):
    return all(
        torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_read_is_what_was_written(tmp_path):
    path = save(tmp_path, 7, seconds=1.5)
    assert path == checkpoint.latest(tmp_path) == tmp_path / "step-00000007"
    fresh = model(1)
    assert not same(fresh, model(7))
    checkpoint.load_weights(path, fresh)
    assert same(fresh, model(7))
    assert fresh[0].weight.is_contiguous(memory_format=torch.channels_last)
    state = checkpoint.load_trainer(path)
    assert state == {"format": 2, "step": 7, "optimizer": {"lr": 0.5}, "seconds": 1.5}


@pytest.mark.parametrize("quantizer", ["ema", {"name": "residual", "inner": "ema"}])
def test_tensors_that_share_memory_are_saved(tmp_path, quantizer):
    """Points and tangent vectors are one tensor in flat space, and safetensors refuses such."""
    layer = VectorQuantizer(dim=4, codebook_size=8, quantizer=quantizer)
    layer(torch.randn(64, 4))
    layer.update()
    path = save(tmp_path, 1, layer)
    twin = VectorQuantizer(dim=4, codebook_size=8, quantizer=quantizer)
    checkpoint.load_weights(path, twin)
    assert same(twin, layer)
    assert torch.equal(twin.codebook, layer.codebook)


def test_the_newest_are_kept(tmp_path):
    for step in (3, 20, 100):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["latest", "step-00000020", "step-00000100"]
    save(tmp_path, 101, keep=1)
    assert names(tmp_path) == ["latest", "step-00000101"]


def test_the_one_just_written_is_kept_before_an_abandoned_later_one(tmp_path):
    """A crash between a checkpoint and the pointer leaves one ahead of where the run resumes."""
    for step in (8, 12):
        save(tmp_path, step)
    (tmp_path / "latest").write_text("step-00000008\n")
    path = save(tmp_path, 9, keep=1)
    assert checkpoint.latest(tmp_path) == path
    assert names(tmp_path) == ["latest", "step-00000009"]


def test_a_step_may_be_saved_again(tmp_path):
    save(tmp_path, 5, model(1))
    path = save(tmp_path, 5, model(2))
    fresh = model()
    checkpoint.load_weights(path, fresh)
    assert same(fresh, model(2))


def test_copies_of_the_user_are_neither_counted_nor_deleted(tmp_path):
    save(tmp_path, 10)
    copies = ["step-00000010-best", "step-zzz", "step-000000010", "step-10", "step-00000099 (copy)"]
    for name in copies:
        shutil.copytree(tmp_path / "step-00000010", tmp_path / name)
    elsewhere = shutil.copytree(tmp_path / "step-00000010", tmp_path.parent / "elsewhere")
    (tmp_path / "step-00000005").symlink_to(elsewhere)
    (tmp_path / "step-00000090").mkdir()  # empty: no checkpoint
    for step in (20, 30, 40):
        save(tmp_path, step, keep=2)
    others = ["step-00000005", "step-00000090", *copies]
    kept = ["latest", *others, "step-00000030", "step-00000040"]
    assert names(tmp_path) == sorted(kept)
    assert checkpoint.complete(tmp_path) == [tmp_path / "step-00000030", tmp_path / "step-00000040"]
    (tmp_path / "latest").unlink()
    assert checkpoint.latest(tmp_path).name == "step-00000040"
    (tmp_path / "latest").write_text("step-00000010-best")
    with pytest.raises(UsageError, match="expected a checkpoint beside it"):
        checkpoint.latest(tmp_path)
    path = save(tmp_path, 5, keep=9)  # in the place of the link
    assert not path.is_symlink()
    assert names(elsewhere) == ["manifest.json", "model.safetensors", "trainer.pt"]


# -- digests ----------------------------------------------------------------


def read(path):
    checkpoint.load_weights(path, model())
    checkpoint.load_trainer(path)


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt"])
def test_every_flipped_bit_is_noticed(tmp_path, name):
    path = save(tmp_path, 1)
    file = path / name
    content = file.read_bytes()
    for position in np.linspace(0, 8 * len(content) - 1, 50).astype(int):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(RunError, match=f"{name}: damaged: its size and SHA-256 are not"):
            read(path)
    file.write_bytes(content)
    read(path)


def test_an_intact_checkpoint_is_offered_in_the_place_of_a_damaged_one(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=9)
    for step in (2, 4):
        (tmp_path / f"step-{step:08d}" / "trainer.pt").write_bytes(b"")
    with pytest.raises(RunError) as caught:
        read(tmp_path / "step-00000004")
    fix = f"step-00000003 is intact; write this name into {tmp_path / 'latest'}"
    assert str(caught.value).endswith(f"; {fix}")
    with pytest.raises(RunError, match="step-00000001 is intact"):
        read(tmp_path / "step-00000002")


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "files": []}',
     '{"format": 1, "files": {"model.safetensors": 7}}', "[" * 10_000],
)  # fmt: skip
def test_a_damaged_manifest_is_refused(tmp_path, manifest):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(RunError, match="damaged"):
        read(path)


def test_a_checkpoint_without_a_manifest_is_read_with_a_word(tmp_path, caplog):
    path = save(tmp_path, 1)
    read(path)
    assert not caplog.messages
    (path / "manifest.json").unlink()
    read(path)
    assert [message.partition(":")[2][:24] for message in caplog.messages] == [
        " its digest was not reco"
    ] * 2


# -- atomic -----------------------------------------------------------------


def full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "broken",
    [
        "torch.save",
        "vq.checkpoints.checkpoint.to_safetensors",
        "os.fsync",
        "os.rename",
        "os.mkdir",
        "os.replace",
    ],
)
def test_a_failure_in_the_middle_keeps_the_one_before(tmp_path, monkeypatch, broken):
    before = save(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(broken, full)
        named = "latest" if broken == "os.replace" else "step-00000002"
        with pytest.raises(RunError) as caught:
            save(tmp_path, 2)
    assert str(caught.value) == f"{tmp_path / named} cannot be written: No space left on device"
    assert checkpoint.latest(tmp_path) == before
    fresh = model()
    checkpoint.load_weights(before, fresh)
    assert same(fresh, model(1))
    assert checkpoint.load_trainer(before)["step"] == 1
    assert (
        {"latest", "step-00000001"}
        <= set(names(tmp_path))
        <= {"latest", "step-00000001", "step-00000002"}
    )
    assert checkpoint.latest(tmp_path) != save(tmp_path, 3) == checkpoint.latest(tmp_path)


@pytest.mark.parametrize("limit", [50_000, 150_000])
def test_the_error_of_a_full_disk_names_the_file(tmp_path, limit):
    """A limit on file size stands for the disk: weights take 125 kB, the state twice as much."""
    before = save(tmp_path, 1)
    state = {"moments": torch.zeros(60_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(RunError, match=r"step-00000002 cannot be written: File too large"):
            save(tmp_path, 2, **state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["latest", "step-00000001"]
    assert checkpoint.latest(tmp_path) == before
    assert save(tmp_path, 2, **state) == checkpoint.latest(tmp_path)


def test_a_second_ctrl_c_in_the_middle_keeps_the_one_before(tmp_path, monkeypatch):
    before = save(tmp_path, 1)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    assert names(tmp_path) == ["latest", "step-00000001"]
    assert checkpoint.latest(tmp_path) == before


# -- reading ----------------------------------------------------------------


class Payload:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    path = save(tmp_path, 1)
    Payload.path = str(tmp_path / "hacked")
    (path / "manifest.json").unlink()  # or its digest would already tell
    torch.save({"format": 2, "rng": Payload()}, path / "trainer.pt")
    with pytest.raises(RunError, match=r"trainer.pt: damaged or not a checkpoint"):
        checkpoint.load_trainer(path)
    assert not (tmp_path / "hacked").exists()
    with (path / "trainer.pt").open("wb") as file:
        pickle.dump(Payload(), file, protocol=2)
    with pytest.raises(RunError, match=r"trainer.pt: damaged or not a checkpoint"):
        checkpoint.load_trainer(path)
    assert not (tmp_path / "hacked").exists()


def test_the_random_state_of_every_library_is_restored(tmp_path):
    def draw():
        return [
            random.random(),
            random.gauss(0, 1),
            *np.random.randn(3).tolist(),
            *torch.randn(3).tolist(),
        ]

    random.gauss(
        0, 1
    )  # each library keeps the second of a pair of normal numbers for the next call
    np.random.randn(1)
    path = save(tmp_path, 1, nn.Linear(2, 2), rng=random_state())
    first = draw()
    assert draw() != first
    restore_random_state(checkpoint.load_trainer(path)["rng"])
    assert draw() == first


def test_a_restored_optimizer_takes_the_same_step(tmp_path):
    module = model()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    path = checkpoint.save(tmp_path, 1, module, {"optimizer": optimizer.state_dict()}, 1)
    twin = model(5)
    checkpoint.load_weights(path, twin)
    restored = torch.optim.AdamW(twin.parameters(), lr=0.1)
    restored.load_state_dict(checkpoint.load_trainer(path)["optimizer"])
    for one, other in zip(module.parameters(), twin.parameters(), strict=True):
        other.grad = one.grad.clone()
    optimizer.step()
    restored.step()
    assert same(module, twin)


def test_a_state_of_an_earlier_torch_lacks_only_what_is_no_option():
    """A later torch adds defaults of its own to the groups of an optimizer."""
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(2))])
    saved, options = optimizer.state_dict(), {"betas": (0.9, 0.999)}
    del saved["param_groups"][0]["maximize"]
    check_optimizer_state(optimizer, saved, "Adam", options)
    del saved["param_groups"][0]["betas"]
    with pytest.raises(KeyError, match="betas"):
        check_optimizer_state(optimizer, saved, "Adam", options)
