"""The data sets that need no files: digits, photos and trees."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images

from vq.data import digits
from vq.data.digits import Digits
from vq.data.photos import Photos
from vq.data.tree import Tree
from vq.data.trees import Trees, tree_bits
from vqcore.errors import SettingError
from vqcore.testing import DatasetConformance


def test_digits_are_those_of_scikit_learn_each_in_one_split(served):
    train, test = (served(Digits().split(name)) for name in ("train", "test"))
    assert train.shape == (1438, 1, 8, 8)
    assert test.shape == (359, 1, 8, 8)
    both = torch.cat([train, test]).flatten(1)
    torch.testing.assert_close(
        (both + 1) * 127.5, ((both + 1) * 8).round().mul(255 / 16).round()
    )  # nearest bytes
    levels = ((both + 1) * 8).round().long()
    assert sorted(map(tuple, levels.tolist())) == sorted(
        map(tuple, load_digits().images.reshape(-1, 64).astype(int))
    )
    assert both.min() == -1
    assert both.max() == 1


def test_digits_are_read_whatever_scikit_learn_looks_like_on_the_disk(monkeypatch, tmp_path):
    usual = digits._table()
    elsewhere = SimpleNamespace(locate_file=tmp_path.joinpath)
    monkeypatch.setattr(digits, "distribution", lambda _: elsewhere)
    assert torch.equal(digits._table.__wrapped__(), usual)


def test_digits_are_labelled():
    images, targets = load_digits().images, load_digits().target
    known = {
        bytes(image.astype(np.uint8)): target for image, target in zip(images, targets, strict=True)
    }
    for name in ("train", "test"):
        split = Digits().split(name)
        levels = (split.data.double() * 16 / 255).round().byte().numpy()
        assert split.labels.tolist() == [known[bytes(image)] for image in levels]
        assert split.labels.dtype == torch.int64
    assert Digits().describe()["classes"] == list("0123456789")


def test_the_held_out_digits_are_of_every_kind():
    train = Digits().split("train")
    assert train.data.dtype == torch.uint8
    # the mean training image as the answer to every test image: 11.4 dB where the parts are alike
    test = Digits().split("test").data.float()
    error = (test - train.data.float().mean(0)).square().mean()
    assert abs(10 * torch.log10(255**2 / error) - 11.4) < 0.1


def numbered_photos():
    """Two photos in which every pixel has a different colour."""
    row, column = np.mgrid[:427, :640]
    high = (row // 256) * 4 + column // 256
    images = [
        np.stack([row % 256, column % 256, high + 16 * number], -1).astype(np.uint8)
        for number in (0, 1)
    ]
    return SimpleNamespace(images=images)


def pixel_numbers(split):
    """The numbers of the pixels in a split's patches, (N, patch, patch)."""
    red, green, blue = split.data.long().unbind(1)
    return (blue * 256 + green) * 256 + red


@pytest.mark.parametrize(("patch", "stride"), [(32, 8), (64, 64), (8, 6), (256, 64), (65, 30)])
def test_no_pixel_of_the_photos_is_in_both_splits(monkeypatch, patch, stride):
    monkeypatch.setattr("sklearn.datasets.load_sample_images", numbered_photos)
    source = Photos(patch=patch, stride=stride)
    train, test = (pixel_numbers(source.split(name)) for name in ("train", "test"))
    assert train.shape[1:] == test.shape[1:] == source.shape[1:] == (patch, patch)
    seen_train, seen_test = train.unique(), test.unique()
    assert not torch.isin(seen_train, seen_test).any()
    assert seen_test.numel() == test.numel()  # test patches do not overlap
    share = seen_test.numel() / (seen_test.numel() + seen_train.numel())
    assert (0.1 < share < 0.25) if patch <= 64 else (0.3 < share < 0.45)


def test_patches_are_whole_windows_of_the_photos(monkeypatch):
    monkeypatch.setattr("sklearn.datasets.load_sample_images", numbered_photos)
    images = numbered_photos().images
    for name in ("train", "test"):
        for patch in Photos(patch=16, stride=16).split(name).data[::7]:
            row, column, (number, high) = (
                int(patch[0, 0, 0]),
                int(patch[1, 0, 0]),
                divmod(int(patch[2, 0, 0]), 16),
            )
            top, left = row + 256 * (high // 4), column + 256 * (high % 4)
            window = images[number][top : top + 16, left : left + 16]
            assert (patch.permute(1, 2, 0).numpy() == window).all()


def test_a_smaller_stride_gives_more_patches(served):
    sizes = [len(Photos(stride=stride).split("train")) for stride in (32, 16, 8)]
    assert sizes == sorted(set(sizes))
    assert served(Photos().split("test"), 64).shape == (108, 3, 32, 32)


def test_photos_give_the_credits_of_scikit_learn():
    notice = load_sample_images().DESCR
    for said in (
        "danielbuechele",
        "vultilion",
        "6061409035",
        "6056698931",
        "https://creativecommons.org/licenses/by/2.0/",
    ):
        assert said in notice
        assert said in Photos.credits


def test_the_test_split_of_trees_is_the_clean_nodes(served):
    source = Trees()
    test = served(source.split("test"), 100)
    assert source.shape == (255,)
    assert (source.likelihood, source.value_range) == ("bernoulli", (0.0, 1.0))
    assert torch.equal(test, tree_bits(Tree.full(2, 7)).float())


def test_trees_train_on_noisy_copies_of_every_node(served):
    train = served(Trees(noise=0.2, samples=1020).split("train"), 100)
    flipped = train != tree_bits(Tree.full(2, 7)).float().repeat(4, 1)
    assert train.unique().tolist() == [0, 1]
    assert abs(flipped.float().mean() - 0.2) < 0.005
    assert flipped.float().mean(0).min() > 0.1  # every bit flips at times
    assert torch.equal(train, served(Trees(noise=0.2, samples=1020).split("train"), 100))


def test_trees_without_noise_are_clean(served):
    assert torch.equal(
        served(Trees(depth=3, noise=0, samples=9).split("train")),
        tree_bits(Tree.full(2, 2))[[*range(7), 0, 1]].float(),
    )


def test_too_few_tree_samples_are_refused():
    with pytest.raises(SettingError, match="samples = 254: expected 255"):
        Trees(samples=254)


class TestPhotos(DatasetConformance):
    refused = ({"shift": 32},)

    def make(self, **options):
        return Photos(**{"stride": 32, "flip": True, "shift": 2} | options)
