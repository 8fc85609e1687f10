import pytest
import torch
from torch.utils.data import Dataset

from vq.pipeline.data.partition import held_out
from vq.pipeline.data.source import ArraySplit, FileSplit, to_float
from vqcore.errors import RunError

CPU = torch.device("cpu")


class Numbered(Dataset):
    """Sample i is a picture of the byte i; sample 5 is broken."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 5:
            raise RunError("sample 5 cannot be read")
        return torch.full((1, 2, 2), index, dtype=torch.uint8)


def array():
    return ArraySplit(torch.stack([Numbered()[index] for index in range(5)] * 2)[:7])


@pytest.mark.parametrize("split", [array(), FileSplit(Numbered()), FileSplit(Numbered(), workers=2)])
def test_batches_follow_the_order_and_the_last_is_short(split):
    order = torch.tensor([4, 0, 0, 3, 1])
    batches = list(split.batches(order.split(2), CPU))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert all(batch.dtype == torch.float32 and batch.shape[1:] == (1, 2, 2) for batch in batches)
    seen = ((torch.cat(batches)[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert seen.tolist() == order.tolist()


@pytest.mark.parametrize("split", [array(), FileSplit(Numbered())])
def test_an_empty_order_gives_no_batch(split):
    assert list(split.batches([], CPU)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_draws_no_random_number(workers):
    before = torch.get_rng_state()
    list(FileSplit(Numbered(), workers).batches(torch.arange(3).split(2), CPU))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_keeps_its_message(workers):
    with pytest.raises(RunError) as caught:
        list(FileSplit(Numbered(), workers).batches([torch.tensor([1, 5])], CPU))
    assert str(caught.value) == "sample 5 cannot be read"


def test_bytes_fill_minus_one_to_one_and_the_set_stays_bytes():
    split = ArraySplit(torch.tensor([[0], [255], [51]], dtype=torch.uint8))
    (batch,) = split.batches([torch.arange(3)], CPU)
    torch.testing.assert_close(batch, torch.tensor([[-1.0], [1.0], [-0.6]]))
    assert split.data.dtype == torch.uint8


def test_truth_values_are_zero_and_one_and_floats_stay():
    torch.testing.assert_close(to_float(torch.tensor([True, False])), torch.tensor([1.0, 0.0]))
    floats = torch.tensor([0.25, 7.0])
    assert to_float(floats) is floats


def test_a_batch_is_no_view_of_the_data():
    split = ArraySplit(torch.zeros(3, 1))
    for batch in split.batches([torch.arange(3)], CPU):
        batch += 1
    assert split.data.sum() == 0


def test_held_out_parts_are_fixed_disjoint_and_complete():
    train, test = held_out(10, 0.3)
    assert sorted(train.tolist() + test.tolist()) == list(range(10))
    # pinned: another permutation would compare runs on different held-out samples
    assert test.tolist() == [1, 4, 7]
    assert held_out(1797, 0.2)[1][:5].tolist() == [10, 14, 21, 22, 26]


@pytest.mark.parametrize(("share", "sizes"), [(0.01, (4, 1)), (0.99, (1, 4)), (0.4, (3, 2))])
def test_held_out_leaves_no_part_empty(share, sizes):
    train, test = held_out(5, share)
    assert (len(train), len(test)) == sizes
