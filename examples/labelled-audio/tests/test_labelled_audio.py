"""The data set on files of a few classes, lengths and kinds."""

import math
import wave
from array import array

import pytest
import torch
from vqcore import RunError, SettingError
from vqcore.testing import DatasetConformance, PluginConformance

from vq_labelled_audio.dataset import LabelledAudio

CPU = torch.device("cpu")


def write(path, values, rate=8000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(array("h", [round(2**15 * value) for value in values]).tobytes())


@pytest.fixture
def root(tmp_path):
    for number in range(5):
        tone = [math.sin(0.1 * (number + 1) * t) / 2 for t in range(100 + number)]
        write(tmp_path / "high" / f"{number}.wav", tone)
        write(tmp_path / "low" / f"{number}.wav", tone[:40])
    return tmp_path


class TestLabelledAudio(DatasetConformance):
    equivalent = ({"workers": 1},)
    refused = ({"root": "nowhere"},)

    @pytest.fixture(autouse=True)
    def files(self, root):
        self.root = str(root)

    def make(self, **options):
        return LabelledAudio(**{"root": self.root, "length": 64} | options)


class TestPlugin(PluginConformance):
    package = "vq-labelled-audio"


def test_samples_classes_and_splits(root):
    source = LabelledAudio(root=str(root), length=64, held_out=0.2)
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test)) == (8, 2)
    assert (source.shape, source.sample_rate, source.classes) == ((1, 64), 8000, ["high", "low"])
    assert {name.split("/")[0] for name in train.names} == {"high", "low"}
    assert [source.classes[n] for n in train.labels] == [name.split("/")[0] for name in train.names]
    assert source.describe()["sample_rate"] == 8000


def test_a_file_is_cut_or_filled_up(root):
    split = LabelledAudio(root=str(root), length=64).split("train")
    low = next(n for n, name in enumerate(split.names) if name.startswith("low"))
    high = next(n for n, name in enumerate(split.names) if name.startswith("high"))
    (batch,) = split.batches([torch.tensor([low, high])], CPU)
    assert batch.shape == (2, 1, 64)
    assert batch[0, 0, 40:].eq(0).all()
    factor = 0.1 * (int(split.names[high][5]) + 1)
    expected = torch.sin(factor * torch.arange(64)) / 2
    torch.testing.assert_close(batch[1, 0], expected, rtol=0, atol=2**-15)


def test_channels_are_averaged(tmp_path):
    for name in "ab":
        write(tmp_path / "class" / f"{name}.wav", [0.5, 0.25, 0.0, -0.5], channels=2)
    split = LabelledAudio(root=str(tmp_path), length=64).split("train")
    (batch,) = split.batches([torch.tensor([0])], CPU)
    assert batch[0, 0, :3].tolist() == [0.375, -0.25, 0.0]


def test_files_that_cannot_be_read_are_named(root):
    (root / "high" / "0.wav").write_bytes(b"no audio")
    write(root / "high" / "1.wav", [0.0], rate=16000)
    files = [path.name for path in LabelledAudio(root=str(root)).files[1:2]]
    assert files == ["1.wav"]
    source = LabelledAudio(root=str(root))
    source.sample_rate = 8000
    for name, message in (("0.wav", "cannot be read"), ("1.wav", "16000 Hz")):
        clips = source.split("train").dataset
        clips.files = [root / "high" / name]
        with pytest.raises(RunError, match=message):
            clips[0]


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"dataset.root = .*0 found"):
        LabelledAudio(root=str(tmp_path)).split("train")
