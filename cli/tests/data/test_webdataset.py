import gzip
import logging

import pytest
import torch

from vq.data import tar_shards as index
from vq.data.skipping import unreadable
from vq.data.tar_shards import expanded
from vq.data.webdataset import WebDataset
from vqcore.errors import RunError, SettingError


def source(folder, pattern="s-{000..002}.tar", **options):
    return WebDataset(shards=str(folder / pattern), image_size=8, workers=0, **options)


def test_braces_and_wildcards_name_files(tmp_path):
    for name in ("a-1.tar", "a-2.tar", "b.tar"):
        (tmp_path / name).touch()
    names = [path.name for path in expanded(str(tmp_path / "{x,a}-{08..11}.tar"))]
    assert names == [f"{a}-{n}.tar" for a in "xa" for n in ("08", "09", "10", "11")]
    assert [path.name for path in expanded(str(tmp_path / "a-*.tar"))] == ["a-1.tar", "a-2.tar"]
    assert [path.name for path in expanded(str(tmp_path / "{b,a-?}.tar"))] == [
        "b.tar",
        "a-1.tar",
        "a-2.tar",
    ]


def test_every_sample_is_in_one_split_with_its_class(tar_shards, seen):
    data = source(tar_shards)
    train, test = data.split("train"), data.split("test")
    assert (len(train), len(test)) == (27, 3)
    assert train.names[0] == "s-000/deep/0000"
    names = [int(name[-4:]) for name in (*train.names, *test.names)]
    assert sorted(names) == list(range(30))
    assert data.classes == ["0", "1", "2"]
    assert torch.cat([train.labels, test.labels]).tolist() == [number % 3 for number in names]
    assert seen(test) == [8 * number for number in names[27:]]


def test_a_broken_sample_is_replaced_by_the_next(tar_shards, seen):
    train = source(tar_shards).split("train")
    numbers = [int(name[-4:]) for name in train.names]
    expected = [8 * (6 if number == 5 else number) for number in numbers]
    assert seen(train) == seen(train) == expected
    assert unreadable(train) == {"s-000/deep/0005": "not an image of a known format"}


def test_worker_processes_report_broken_samples(tar_shards):
    data = source(tar_shards)
    data.workers = 2
    split = data.split("train")
    for _ in split.batches(torch.arange(27).split(4), torch.device("cpu")):
        pass
    assert list(unreadable(split)) == ["s-000/deep/0005"]


def test_a_disk_that_is_gone_ends_the_run(tar_shards):
    train = source(tar_shards).split("train")
    for shard in tar_shards.iterdir():
        shard.unlink()
    with pytest.raises(RunError, match=r"s-000.tar: deep/0000 cannot be read: .*No such file"):
        next(train.batches([torch.arange(3)], torch.device("cpu")))


def test_labels_may_be_a_field_of_the_json(tar_shards):
    data = source(tar_shards, label="json.kind")
    assert data.split("train").labels[:3].tolist() == [0, 1, 0]
    assert data.classes == ["a", "b"]
    assert len(source(tar_shards, label="json.n").split("train").labels) == 27


def test_test_shards_are_the_held_out_split(tar_shards):
    held_out = str(tar_shards / "s-002.tar")
    data = source(tar_shards, "s-00[01].tar", test_shards=held_out)
    assert (len(data.split("train")), len(data.split("test"))) == (20, 10)


@pytest.mark.parametrize("size", [6000, 6 * 1024, 6 * 1024 + 600])
def test_a_shard_that_is_cut_off_gives_what_is_whole(tar_shards, size):
    whole = (tar_shards / "s-002.tar").read_bytes()
    (tar_shards / "s-002.tar").write_bytes(whole[:size])
    data = source(tar_shards)
    data.split("train")
    assert 20 < sum(len(part) for part in data.samples.values()) < 30
    assert any(name.startswith("s-002.tar") for name in data.describe()["skipped"])


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        ("s-{000..003}.tar", {}, "tar files, but .*s-003.tar is missing; write several as"),
        ("no-*.tar", {}, "tar files, but there are none"),
        ("s-*.tar", {"image": "jpg"}, "2 or more pictures, but 0 samples have jpg"),
        ("s-*.tar", {"label": "txt"}, "pictures, but it has no txt"),
        ("packed.tar", {}, "pictures, but it is compressed, .*unpack it to a plain .tar"),
        ("text.tar", {}, "pictures, but ReadError"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tar_shards, pattern, options, message):
    (tar_shards / "packed.tar").write_bytes(gzip.compress((tar_shards / "s-000.tar").read_bytes()))
    (tar_shards / "text.tar").write_text("no tar file")
    with pytest.raises(SettingError, match=f"dataset.shards = .*{message}"):
        source(tar_shards, pattern, **options).split("train")


def test_the_index_of_a_large_shard_is_remembered_until_it_changes(tar_shards, monkeypatch):
    monkeypatch.setattr(index, "MANY", 5)
    first = source(tar_shards).samples
    read = []
    monkeypatch.setattr(index, "_members", lambda tar: read.append(tar.name) or iter(()))
    assert source(tar_shards).samples == first
    assert read == []
    (tar_shards / "s-001.tar").touch()
    assert sum(map(len, source(tar_shards).samples.values())) == 20
    assert [name[-9:] for name in read] == ["s-001.tar"]


SAMPLES = '{"digest": "DIGEST", "samples": [["k", -1, 2, null]], "skipped": {}, "broken": ""}'


@pytest.mark.parametrize("damage", ['"', "[]", '{"digest": "DIGEST"}', SAMPLES])
def test_a_damaged_memory_is_made_again(tar_shards, monkeypatch, damage):
    monkeypatch.setattr(index, "MANY", 5)
    first = source(tar_shards).samples
    for shard in tar_shards.iterdir():
        memory, digest = index._memory(shard, None, None)
        memory.write_text(damage.replace("DIGEST", digest))
    assert source(tar_shards).samples == first


def test_shards_are_read_in_the_order_of_the_pattern(tar_shards, caplog):
    with caplog.at_level(logging.WARNING):
        data = source(tar_shards, "s-{002,000}.tar")
    assert next(path.name for path, _ in data.samples["train"]) == "s-002.tar"
