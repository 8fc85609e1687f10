import sys

import numpy as np
import pytest
import torch

from vq.data.audio_files import AudioFiles, write_wav
from vq.data.audio_folder import AudioFolder
from vq.data.skipping import unreadable
from vqcore.errors import RunError, SettingError, UsageError

soundfile = pytest.importorskip("soundfile", reason="needs the extra audio")


def source(folder, **options):
    return AudioFolder(**{"root": str(folder), "length": 256, "workers": 0} | options)


def held_out(audio, split):
    """The whole of the only file in a split."""
    (name,) = {name.rpartition("/")[0] for name in split.names}
    return soundfile.read(audio / name, dtype="float32")[0]


def test_files_are_cut_into_segments_one_after_the_other(audio, served):
    data = source(audio)
    train, test = data.split("train"), data.split("test")
    assert data.sample_rate == 8000
    assert data.describe()["sample_rate"] == 8000
    counts = {name: sum(each.startswith(name) for each in train.names) for name in ("high", "low")}
    assert sum(counts.values()) == len(train) == 27
    segments, whole = served(test), held_out(audio, test)
    assert segments.shape == (5, 1, 256)
    joined = segments.flatten()
    assert torch.equal(joined[: len(whole)], torch.from_numpy(whole))
    assert not joined[len(whole) :].any()  # silence
    assert data.classes == ["high", "low"]
    assert train.labels.tolist() == [name.startswith("low") for name in train.names]


def test_files_without_sound_are_skipped_and_counted(audio, caplog):
    data = source(audio)
    data.split("train")
    assert set(data.describe()["skipped"]) == {"low/broken.wav", "low/empty.wav"}
    assert data.describe()["segments"] == {"train": 27, "test": 5, "skipped": 2}
    assert "2 of 8 audio files (wav, flac, aiff or mp3) are skipped" in caplog.text


def test_a_file_that_breaks_off_is_replaced_when_it_is_met(audio, served):
    flac = audio / "high" / "3.flac"
    content = flac.read_bytes()
    flac.write_bytes(content[: len(content) // 2])
    data = source(audio)
    train = data.split("train")
    assert served(train).isfinite().all()
    assert all(name.startswith("high/3.flac/") for name in unreadable(train))
    assert train.replaced > 0


def test_nan_is_no_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(300, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(RunError, match=r"a.wav cannot be read: it holds NaN or inf"):
        AudioFiles(1, 256, 8000).read(tmp_path / "a.wav", 0)


@pytest.mark.parametrize("rate", [4000, 11025, 16000])
def test_segments_of_another_rate_are_those_of_the_whole_file_resampled(audio, served, rate):
    from scipy.signal import resample_poly

    split = source(audio, sample_rate=rate).split("test")
    whole = held_out(audio, split)
    common = np.gcd(rate, 8000)
    expected = resample_poly(whole, rate // common, 8000 // common)
    joined = served(split).flatten()
    assert len(joined) - len(expected) < 256
    np.testing.assert_allclose(joined[: len(expected)], expected, atol=1e-6)
    assert not joined[len(expected) :].any()


def test_files_of_several_rates_need_one_named(audio):
    soundfile.write(audio / "z.wav", np.zeros(500), 16000)
    with pytest.raises(SettingError, match=r"dataset.sample_rate = None: .*8000 and 16000 found"):
        source(audio).split("train")
    assert source(audio, sample_rate=8000).split("train").names


def test_channels(tmp_path):
    left, right = np.linspace(0, 0.5, 100), np.linspace(0, -0.25, 100)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", left, 8000, subtype="FLOAT")
    read = {
        (name, channels): AudioFiles(channels, 100, 8000).read(tmp_path / f"{name}.wav", 0)
        for name in ("mono", "stereo")
        for channels in (1, 2)
    }
    left, right = (torch.from_numpy(each).float() for each in (left, right))
    assert torch.equal(read["stereo", 2], torch.stack([left, right]))
    assert torch.equal(read["mono", 2], torch.stack([left, left]))
    assert torch.equal(read["mono", 1], left.unsqueeze(0))
    assert torch.allclose(read["stereo", 1], ((left + right) / 2).unsqueeze(0))
    soundfile.write(tmp_path / "many.wav", np.zeros((9, 6)), 8000)
    with pytest.raises(RunError, match="6 channels, where 1 or 2 are expected"):
        AudioFiles(2, 100, 8000).count(tmp_path / "many.wav")
    assert AudioFiles(1, 100, 8000).count(tmp_path / "many.wav") == 1


def test_the_end_of_a_single_file_is_held_out(tmp_path):
    soundfile.write(tmp_path / "only.wav", np.zeros(2560), 8000)
    data = source(tmp_path)
    assert len(data.split("train")) == 9
    assert data.split("test").names == ["only.wav/00009"]
    soundfile.write(tmp_path / "only.wav", np.zeros(200), 8000)
    with pytest.raises(SettingError, match="to test with, but there is one segment alone"):
        source(tmp_path).split("train")


def test_folders_named_train_and_valid_are_the_splits(audio):
    (audio / "low").rename(audio / "train")
    (audio / "high").rename(audio / "valid")
    data = source(audio)
    assert {name.partition("/")[0] for name in data.split("test").names} == {
        "1.wav",
        "3.flac",
        "5.wav",
    }
    assert data.classes is None


@pytest.mark.parametrize("name", ["none", "a.wav", "empty"])
def test_a_folder_without_audio_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.wav").touch()
    with pytest.raises(SettingError, match=r"dataset.root = .*audio files \(wav"):
        source(tmp_path / name).split("train")


def test_what_is_written_is_what_is_read(tmp_path):
    values = torch.linspace(-1, 1, 50).expand(2, -1)
    write_wav(tmp_path / "a.wav", values, 16000)
    assert soundfile.info(tmp_path / "a.wav").samplerate == 16000
    found = AudioFiles(2, 50, 16000).read(tmp_path / "a.wav", 0)
    assert torch.allclose(found, values, atol=2**-15)


def test_without_the_library_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UsageError, match=r"needs soundfile: pip install 'vq-cli\[audio\]'"):
        source(tmp_path)
