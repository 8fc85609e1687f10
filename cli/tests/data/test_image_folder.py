import json
import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vq.data import checked_images, image_folder
from vq.data.find_images import find_images
from vq.data.image_files import unreadable
from vq.data.image_folder import ImageFolder
from vq.data.image_modes import to_rgb
from vq.files import state_folder
from vqcore.errors import RunError, SettingError
from vqcore.interfaces.dataset import TrainingBatch


def fill(root, count=12, seed=0):
    """Nested grey images of mixed sizes, written in random order; image i is grey 20 i."""
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    for number in numbers:
        path = root / f"{number % 3}" / ("deep/er" if number % 2 else "") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5 + number, 30 - 2 * number), 20 * number).save(path)
    return root


def numbers(batch):
    """The numbers of the images of ``fill`` in a batch."""
    return ((batch[:, 0, 0, 0] + 1) * 127.5 / 20).round().long().tolist()


def source(root, **options):
    return ImageFolder(
        **{"root": str(root), "image_size": 8, "held_out": 0.25, "workers": 0} | options
    )


def listed(folder):
    return {part: list(names) for part, names in folder.files.items()}


def test_every_image_is_in_one_split(tmp_path, served):
    folder = source(fill(tmp_path))
    train, test = (served(folder.split(name)) for name in ("train", "test"))
    assert train.shape == (9, 3, 8, 8) == (9, *folder.shape)
    assert test.shape == (3, 3, 8, 8)
    assert sorted(numbers(train) + numbers(test)) == list(range(12))


def test_the_split_depends_on_relative_paths_only(tmp_path, served):
    here, there = fill(tmp_path / "here", seed=1), fill(tmp_path / "there" / "deep", seed=2)
    for name in ("train", "test"):
        assert numbers(served(source(here).split(name))) == numbers(
            served(source(there).split(name))
        )


def test_workers_keep_the_order(tmp_path):
    fill(tmp_path)
    order = torch.tensor([8, 1, 5, 1, 0])
    alone, helped = (
        torch.cat(
            list(
                source(tmp_path, workers=workers)
                .split("train")
                .batches(order.split(2), torch.device("cpu"))
            )
        )
        for workers in (0, 2)
    )
    assert torch.equal(alone, helped)
    everything = source(tmp_path).split("train").dataset
    assert torch.equal(
        alone, torch.stack([everything[index] for index in order.tolist()]) / 127.5 - 1
    )


@pytest.mark.parametrize("held", ["test", "val"])
def test_folders_named_train_and_test_are_the_splits(tmp_path, served, held):
    fill(tmp_path / "train", 6)
    fill(tmp_path / held, 2)
    Image.new("L", (9, 9)).save(tmp_path / "beside.png")
    folder = source(tmp_path)
    assert sorted(numbers(served(folder.split("train")))) == list(range(6))
    assert sorted(numbers(served(folder.split("test")))) == [0, 1]


def test_test_is_taken_before_val(tmp_path):
    for name, count in (("train", 6), ("val", 2), ("test", 3)):
        fill(tmp_path / name, count)
    assert len(source(tmp_path).split("test")) == 3


@pytest.fixture
def damaged(tmp_path):
    """Twelve good images and four bad files: text, a truncated JPEG and PNG, an empty file."""
    fill(tmp_path)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    noise.save(tmp_path / "cut.jpg")
    noise.save(tmp_path / "cut.png")
    for name in ("cut.jpg", "cut.png"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.gif").touch()
    return tmp_path


BAD = ["cut.jpg", "cut.png", "empty.gif", "text.jpg"]


def test_recorded_broken_images_are_not_decoded_again(damaged, monkeypatch):
    first = source(damaged)
    described = json.loads(json.dumps(first.describe()))
    monkeypatch.setattr(image_folder, "unreadable", lambda *_: pytest.fail("decoded again"))
    again = source(damaged)
    again.restore(described)
    assert listed(again) == listed(first)
    assert again.describe() == first.describe()


def test_the_check_of_a_large_folder_is_remembered_until_a_file_changes(damaged, monkeypatch):
    names, decoded = find_images(damaged).images, []

    def broken():
        return checked_images.broken_images(damaged, names)

    monkeypatch.setattr(checked_images, "MANY", 2)
    first = broken()
    assert sorted(first) == BAD
    monkeypatch.setattr(
        checked_images, "unreadable", lambda *given: decoded.append(given) or unreadable(*given)
    )
    assert broken() == first
    assert not decoded
    (damaged / "text.jpg").write_text("still no image")
    assert broken() == first
    assert len(decoded) == 1
    memory = next((state_folder() / "images").glob("*.json"))
    elsewhere = json.dumps(json.loads(memory.read_text()) | {"broken": {"/etc/passwd": "x"}})
    for edited in ("no json", "[]", '{"digest": 1}', elsewhere):
        memory.write_text(edited)
        assert broken() == first
    assert len(decoded) == 5


def test_a_file_that_keeps_its_size_and_its_time_is_checked_again(damaged, monkeypatch):
    names = find_images(damaged).images
    monkeypatch.setattr(checked_images, "MANY", 2)
    assert len(checked_images.broken_images(damaged, names)) == len(BAD)
    good = next(name for name in names if name not in BAD)
    about = (damaged / good).stat()
    (damaged / good).write_bytes(bytes(about.st_size))
    os.utime(damaged / good, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert good in checked_images.broken_images(damaged, names)


def test_a_changed_number_of_images_is_decoded_again(damaged):
    described = source(damaged).describe()
    (damaged / "more.png").write_text("no image")
    changed = source(damaged)
    changed.restore(described)
    assert sorted(changed.describe()["skipped"]) == sorted([*BAD, "more.png"])


@pytest.mark.parametrize("name", ["skipped", "pictures"])
@pytest.mark.parametrize(
    "odd", [[], 7, None, {"a": "x"}, {"a": []}, [["cut.jpg"]], {"cut.jpg": "x"}]
)
def test_an_edited_record_is_not_believed(damaged, name, odd):
    described = source(damaged).describe()
    again = source(damaged)
    again.restore(described | {name: odd})
    assert sorted(again.describe()["skipped"]) == BAD


def test_broken_images_are_skipped_counted_and_listed(damaged, served, caplog):
    folder = source(damaged)
    with caplog.at_level(logging.WARNING):
        train, test = (served(folder.split(name)) for name in ("train", "test"))
    assert sorted(numbers(train) + numbers(test)) == list(range(12))
    assert sorted(folder.describe()["skipped"]) == BAD
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "4 of 16 images cannot be read" in message
    assert all(name in message for name in BAD)


def test_a_broken_image_moves_no_other_between_the_splits(tmp_path, served):
    fill(tmp_path)
    before = {name: numbers(served(source(tmp_path).split(name))) for name in ("train", "test")}
    victim = tmp_path / "1" / "04.png"
    victim.write_bytes(b"")
    after = {name: numbers(served(source(tmp_path).split(name))) for name in ("train", "test")}
    assert after == {
        name: [number for number in kept if number != 4] for name, kept in before.items()
    }


def test_files_of_other_suffixes_are_counted(tmp_path, caplog):
    (fill(tmp_path) / "labels.csv").touch()
    with caplog.at_level(logging.INFO):
        assert source(tmp_path).describe()["others"] == {".csv": 1}
    assert "12 found beside files of other suffixes (1 .csv)" in caplog.text


def test_names_that_are_no_utf_8_are_shown_escaped(tmp_path, served, caplog):
    fill(tmp_path)
    odd = tmp_path / os.fsdecode(b"odd\xff")
    odd.mkdir()
    Image.new("L", (9, 9)).save(odd / "a.png")
    (odd / os.fsdecode(b"broken\xff.png")).touch()
    folder = source(tmp_path)
    assert sum(len(folder.split(name)) for name in ("train", "test")) == 13
    assert folder.classes == ["0", "1", "2", "odd\\udcff"]
    assert r"odd\udcff/broken\udcff.png: not an image" in caplog.text
    again = source(tmp_path)
    again.restore(json.loads(json.dumps(folder.describe())))
    assert listed(again) == listed(folder)


def test_what_is_skipped_is_recorded_with_the_reason(damaged):
    recorded = source(damaged).describe()
    good = 16 - 4
    assert recorded["pictures"]["train"] + recorded["pictures"]["test"] == good
    assert recorded["pictures"]["skipped"] == 4
    assert recorded["skipped"]["empty.gif"] == "not an image of a known format"


def test_a_long_list_of_broken_images_is_cut_in_the_log_only(tmp_path, caplog):
    fill(tmp_path)
    for number in range(50):
        (tmp_path / f"bad{number}.png").touch()
    with caplog.at_level(logging.WARNING):
        recorded = source(tmp_path).describe()
    assert len(recorded["skipped"]) == 50
    assert caplog.text.count("not an image") == 20
    assert "and 30 more" in caplog.text


def test_a_held_out_part_of_broken_images_only_is_partitioned_again(tmp_path, served):
    fill(tmp_path, 4)
    for name in source(tmp_path, held_out=0.01).files["test"]:
        (tmp_path / name).write_bytes(b"")
    folder = source(tmp_path, held_out=0.01)
    assert [len(folder.split(name)) for name in ("train", "test")] == [2, 1]
    assert (
        len({*numbers(served(folder.split("train"))), *numbers(served(folder.split("test")))}) == 3
    )


def test_one_readable_image_is_too_few(tmp_path):
    fill(tmp_path, 3)
    for name in find_images(tmp_path).images[:2]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SettingError, match="readable images to"):
        source(tmp_path).split("train")


def test_classes_are_the_topmost_folders(tmp_path, served):
    folder = source(fill(tmp_path))
    assert folder.describe()["classes"] == ["0", "1", "2"]
    for name in ("train", "test"):
        split = folder.split(name)
        assert split.labels.tolist() == [number % 3 for number in numbers(served(split))]
        assert split.labels.dtype == torch.int64


def test_both_splits_number_classes_alike(tmp_path):
    for part, names in (("train", "acd"), ("test", "ad")):
        for name in names:
            fill(tmp_path / part / name, 2)
    folder = source(tmp_path)
    assert folder.classes == ["a", "c", "d"]
    assert folder.split("train").labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert folder.split("test").labels.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("extra", ["beside.png", None])
def test_images_without_class_folders_have_no_labels(tmp_path, extra):
    fill(tmp_path / "all", 4)
    if extra:
        fill(tmp_path / "others", 4)
        Image.new("L", (9, 9)).save(tmp_path / extra)
    folder = source(tmp_path)
    assert folder.split("train").labels is None
    assert "classes" not in folder.describe()


def test_strict_refuses_broken_images(damaged):
    with pytest.raises(SettingError) as caught:
        source(damaged, strict=True).split("train")
    message = str(caught.value)
    assert message.startswith(f"dataset.root = {str(damaged)!r}: expected")
    assert "4 of 16" in message
    assert all(name in message for name in BAD)
    assert "dataset.strict=false" in message


def test_strict_accepts_a_folder_without_broken_images(tmp_path):
    assert len(source(fill(tmp_path), strict=True).split("train")) == 9


def test_an_image_that_vanishes_ends_in_one_message(tmp_path, served):
    split = source(fill(tmp_path), workers=1).split("train")
    for name in find_images(tmp_path).images:
        (tmp_path / name).unlink()
    with pytest.raises(RunError, match=r"^\S+\.png cannot be read: No such file or directory$"):
        served(split)


def test_a_missing_folder_is_refused_in_one_message(tmp_path):
    with pytest.raises(SettingError) as caught:
        source(tmp_path / "no").split("train")
    assert str(caught.value).startswith(
        f"dataset.root = {str(tmp_path / 'no')!r}: expected a folder of images"
    )
    assert "--set dataset.root=" in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="a folder of images, but it is a file; name another"):
        source(tmp_path / "file").split("train")


@pytest.mark.parametrize(
    "names", [[], ["notes.txt"], ["only.png"], [".hidden.png", ".also/a.png", "one.png"]]
)
def test_too_few_images_are_refused_in_one_message(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / name, format="png")
    with pytest.raises(SettingError, match=r"dataset\.root = .*2 or more images .*png"):
        source(tmp_path).split("train")


def test_a_split_of_broken_images_only_is_refused_in_one_message(tmp_path):
    fill(tmp_path / "train", 3)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.png").touch()
    with pytest.raises(SettingError, match="readable images to test with, but all 1 are broken"):
        source(tmp_path).split("train")


def test_linked_folders_are_followed_once(tmp_path):
    fill(tmp_path / "real", 4)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (inside / "loop").symlink_to(inside, target_is_directory=True)
    assert sorted(Path(name).stem for name in find_images(inside).images) == [
        "00",
        "01",
        "02",
        "03",
    ]


def test_images_are_centre_cropped(tmp_path, served):
    for name in ("a", "b"):
        wide = Image.new("RGB", (60, 20), (255, 0, 0))
        wide.paste((0, 255, 0), (20, 0, 40, 20))
        wide.save(tmp_path / f"{name}.png")
    batch = served(source(tmp_path).split("test"))
    assert (batch == torch.tensor([-1.0, 1.0, -1.0])[:, None, None]).all()


def test_an_image_of_extreme_shape_is_served(tmp_path, served):
    for name in ("a", "b"):
        Image.new("L", (20000, 1), 255).save(tmp_path / f"{name}.png")
    assert (served(source(tmp_path).split("train")) == 1).all()


def grey(mode, value):
    return Image.fromarray(np.full((6, 6), value, mode))


TRANSPARENT = Image.new("RGBA", (6, 6), (9, 9, 9, 0))
PALETTE = Image.new("RGB", (6, 6), (10, 200, 30)).quantize(4)


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("RGB", (6, 6), (10, 200, 30)), (10, 200, 30)),
        (grey(np.uint8, 77), (77, 77, 77)),
        (grey(np.uint16, 77 * 256 + 5), (77, 77, 77)),
        (Image.new("1", (6, 6), 1), (255, 255, 255)),
        (PALETTE, (10, 200, 30)),
        (TRANSPARENT, (255, 255, 255)),
        (TRANSPARENT.convert("LA"), (255, 255, 255)),
        (Image.new("RGBA", (6, 6), (10, 200, 30, 255)), (10, 200, 30)),
    ],
    ids=["rgb", "grey", "16-bit", "1-bit", "palette", "transparent", "grey-alpha", "opaque"],
)
def test_every_mode_becomes_rgb(tmp_path, image, colour):
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as read:
        converted = to_rgb(read)
    assert converted.mode == "RGB"
    assert converted.getcolors() == [(36, colour)]


def test_images_are_rotated_as_exif_says(tmp_path):
    turned = Image.new("RGB", (8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as read:
        assert to_rgb(read).size == (4, 8)


def test_a_truncated_file_is_unreadable(tmp_path):
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    )
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    image.save(good)
    bad.write_bytes(good.read_bytes()[:-100])
    assert list(unreadable([good, bad])) == [bad]


def training_batch(folder, rows, key=0):
    split = folder.split("train")
    batch = TrainingBatch(torch.tensor(rows), key, torch.arange(len(rows)))
    return next(split.training_batches([batch], torch.device("cpu")))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("crop", ["random", "resized", "pixels"])
def test_training_images_are_cut_at_random_and_held_out_ones_in_the_middle(
    tmp_path, served, crop, workers
):
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8), (40, 200))
    for number in range(4):
        Image.fromarray(ramp).save(tmp_path / f"{number}.png")
    folder = source(tmp_path, crop=crop, workers=workers, image_size=(10, 20))
    first = training_batch(folder, [0, 0, 1])
    assert first.shape == (3, 3, 10, 20)
    means = first.mean((1, 2, 3))
    assert len(means.unique()) == 3  # each position has draws of its own
    assert torch.equal(first, training_batch(folder, [0, 0, 1]))
    assert not torch.equal(first, training_batch(folder, [0, 0, 1], key=1))
    held = served(folder.split("test"))
    middle = (held.mean((1, 2, 3)) + 1) * 127.5
    assert (middle - 99.5).abs().max() < 1
    span = {"random": 80, "resized": None, "pixels": 20}[crop]
    if span:
        columns = (first[0, 0, 0] + 1) * 127.5
        assert abs(columns[-1] - columns[0] - span) < 5
    if crop == "pixels":
        steps = columns.diff()
        torch.testing.assert_close(steps, torch.ones(19), rtol=0, atol=1e-3)


def test_an_image_smaller_than_its_crop_is_enlarged(tmp_path):
    for number in range(4):
        Image.new("L", (5, 30), 51).save(tmp_path / f"{number}.png")
    folder = source(tmp_path, crop="pixels", image_size=(10, 20))
    torch.testing.assert_close(training_batch(folder, [0]), torch.full((1, 3, 10, 20), -0.6))


@pytest.mark.parametrize("workers", [0, 1])
def test_of_a_large_folder_no_image_is_decoded_before_it_is_met(
    damaged, served, monkeypatch, workers
):
    monkeypatch.setattr(image_folder, "MANY", 16)
    monkeypatch.setattr(image_folder, "unreadable", lambda *_: pytest.fail("decoded"))
    folder = source(damaged, workers=workers)
    assert folder.describe()["pictures"] == {"train": 12, "test": 4, "skipped": 0}
    splits = [folder.split(name) for name in ("train", "test")]
    assert all(len(numbers(served(split))) == len(split) for split in splits)
    met = {split.names[row] for split in splits for row in split.skipped}
    assert sorted(met) == BAD
    strict = source(damaged, strict=True).split("train")
    with pytest.raises(RunError, match="cannot be read"):
        served(strict)
