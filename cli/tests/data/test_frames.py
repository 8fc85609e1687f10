import pytest
import torch

from vq.data.frame_files import frames_in
from vq.data.frames import Frames
from vq.data.skipping import unreadable
from vqcore.data.augment import augment
from vqcore.errors import SettingError


def source(folder, **options):
    return Frames(**{"root": str(folder), "length": 3, "image_size": 8, "workers": 0} | options)


def lights(clips):
    """The brightness of each frame of clips, as a split serves them."""
    return ((clips[:, 0, :, 0, 0] + 1) * 127.5).round().int().tolist()


def test_numbers_in_names_order_the_frames(clips):
    assert frames_in(clips / "v4")[-3:] == ["frame10.png", "frame11.png", "frame12.png"]


def test_videos_are_cut_into_clips_one_after_the_other(clips, served):
    data = source(clips)
    train, test = data.split("train"), data.split("test")
    assert train.names[:4] == ["v0/00000", "v0/00001", "v0/00002", "v2/00000"]
    assert lights(served(train))[:4] == [[0, 10, 20], [30, 40, 50], [60, 70, 80], [2, 12, 22]]
    assert (len(train), len(test)) == (14, 3)
    assert {name[:2] for name in test.names}.isdisjoint(name[:2] for name in train.names)
    assert data.classes is None
    assert data.describe()["frame_stride"] == 1
    assert list(data.describe()["skipped"]) == ["short"]


def test_a_stride_skips_frames(clips, served):
    split = source(clips, stride=4, length=3).split("train")
    assert lights(served(split))[0] == [0, 40, 80]
    assert served(source(clips, stride=2).split("train")).shape[1:] == (3, 3, 8, 8)


def test_a_broken_frame_costs_its_clip(clips, served):
    (clips / "v0" / "frame4.png").write_bytes(b"broken")
    train = source(clips).split("train")
    assert lights(served(train))[:2] == [[0, 10, 20], [60, 70, 80]]
    assert "frame4.png cannot be read" in next(iter(unreadable(train).values()))


def test_all_frames_of_a_clip_are_augmented_alike(clips):
    data = source(clips, flip=True, shift=2)
    batch, positions = torch.randn(4, 3, 3, 8, 8), torch.arange(4)
    changed = data.augment(batch, 7, positions)
    for frame in range(3):
        alone = augment(batch[:, :, frame], 7, positions, flip=True, shift=2)
        assert torch.equal(changed[:, :, frame], alone)


def test_videos_too_short_for_a_clip_are_refused(clips):
    with pytest.raises(SettingError, match="to train with, but number of frames: 1, where a clip"):
        source(clips, length=20).split("train")


def test_frames_of_one_video_are_split_in_time(clips):
    data = source(clips / "v4")
    assert data.split("train").names == ["00000", "00001", "00002"]
    assert data.split("test").names == ["00003"]
