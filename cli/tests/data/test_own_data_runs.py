"""Runs on tables, tar shards, audio and video: exact resume, and tokens back to files."""

import pytest
import torch

from vq import decode, encode
from vq.data.read_samples import read_samples
from vq.runs.trained_run import load_run
from vqcore.errors import RunError, SettingError

IMAGES = ("--dataset.image_size", "8")


@pytest.fixture
def choices(request, tmp_path):
    """A function that gives the options of a data set by its name."""

    def of(name):
        if name == "huggingface":
            request.getfixturevalue("table").save_to_disk(tmp_path / "table")
            return ("--dataset.root", "table", *IMAGES)
        if name == "webdataset":
            request.getfixturevalue("tar_shards")
            return ("--dataset.shards", "shards/s-{000..002}.tar", *IMAGES, "--dataset.shift", "1")
        if name == "audio-folder":
            request.getfixturevalue("audio")
            return ("--dataset.root", "audio", "--dataset.length", "256")
        request.getfixturevalue("clips")
        return (
            "--dataset.root",
            "clips",
            *IMAGES,
            "--dataset.length",
            "4",
            "--dataset.flip",
            "true",
        )

    return lambda name: ("--dataset", name, "--dataset.workers", "0", "--batch-size", 8, *of(name))


@pytest.mark.parametrize("name", ["huggingface", "webdataset", "audio-folder", "frames"])
def test_a_run_in_two_parts_is_the_run_in_one(train, resume, vq, choices, name):
    options = (*choices(name), "--set", "schedule=constant")
    whole = train(*options, "--max-steps", 9, run="whole")
    parts = resume(train(*options, "--max-steps", 5, run="parts"), "--max-steps", 9)
    assert whole.weights == parts.weights
    assert whole.json("summary")["psnr"] == parts.json("summary")["psnr"]
    assert list((whole.path / "samples").iterdir())
    assert vq("evaluate", whole.path, "--json").code == 0
    if name in ("audio-folder", "frames"):
        assert vq("report", whole.path).code == 0


def test_audio_comes_back_as_files_of_the_same_names(train, vq, choices, tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="needs the extra audio")
    run = train(*choices("audio-folder"))
    encoded = vq("encode", run.path, "audio", "-o", "tokens", "--workers", 0)
    assert "2 of 34 files cannot be read and are left out" in encoded.out
    assert vq("decode", run.path, "tokens", "-o", "back").code == 0
    written = sorted(
        p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*.wav")
    )
    assert written == [f"{('low', 'high')[n % 2]}/{n}.wav" for n in (1, 3, 5, 0, 2, 4)]
    about = soundfile.info(tmp_path / "back" / "low" / "4.wav")
    assert (about.samplerate, about.channels, about.frames) == (8000, 1, 6 * 256)
    trained = load_run(run.path)
    inputs = read_samples(tmp_path / "audio" / "low" / "4.wav", trained.samples, workers=0)
    batch = next(inputs.split.batches([torch.arange(6)], torch.device("cpu")))
    expected = trained.model.decode(trained.model.encode(batch)).flatten().clamp(-1, 1)
    found = torch.from_numpy(soundfile.read(tmp_path / "back/low/4.wav", dtype="float32")[0])
    assert torch.allclose(found, expected, atol=2**-14)
    refused = vq("decode", run.path, "tokens", "-o", "pictures", "--format", "png")
    assert refused.code == 2
    assert "expected npy or wav for samples of shape (1, 256)" in refused.err


def test_video_comes_back_as_folders_of_frames(train, vq, choices, tmp_path):
    run = train(*choices("frames"))
    encode(run.path, tmp_path / "clips", tmp_path / "tokens", workers=0)
    assert decode(run.path, tmp_path / "tokens", tmp_path / "back") == 12
    frames = {path.name: len(list(path.iterdir())) for path in (tmp_path / "back").iterdir()}
    assert frames == {"v0": 8, "v1": 8, "v2": 8, "v3": 12, "v4": 12}
    encode(run.path, tmp_path / "clips" / "v3", tmp_path / "one", workers=0)
    decode(run.path, tmp_path / "one", tmp_path / "again")
    files = sorted(path.name for path in (tmp_path / "again" / "v3").iterdir())
    assert files == [f"{number:06d}.png" for number in range(12)]
    for name in files:
        content = [(tmp_path / folder / "v3" / name).read_bytes() for folder in ("back", "again")]
        assert content[0] == content[1]


def test_what_such_a_model_cannot_read_is_refused(train, choices, tmp_path):
    run = load_run(train(*choices("frames")).path)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "clips" / "v0" / "frame0.png"):
        with pytest.raises(SettingError, match=r"PATH = .*expected folders of frames"):
            read_samples(path, run.samples)


def test_a_broken_sample_is_not_encoded_as_another(train, choices, tmp_path):
    run = train(*choices("webdataset"))
    with pytest.raises(RunError, match="0005 cannot be read"):
        encode(run.path, "train", tmp_path / "tokens")
