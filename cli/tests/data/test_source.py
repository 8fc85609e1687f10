import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from vq.data import splits
from vq.data.partition import held_out
from vq.data.splits import ArraySplit, FileSplit, Subset, to_float
from vqcore.errors import RunError
from vqcore.interfaces.dataset import SampleSpec

CPU = torch.device("cpu")


class Numbered(Dataset):
    """Sample i is a picture of the byte i; sample 5 is broken."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 5:
            raise RunError("sample 5 cannot be read")
        return torch.full((1, 2, 2), index, dtype=torch.uint8)


class ProcessNumbers(Dataset):
    """Every sample is the number of the process that read it."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([os.getpid()])


def array():
    return ArraySplit(torch.stack([Numbered()[index] for index in range(5)] * 2)[:7])


@pytest.mark.parametrize(
    "split", [array(), FileSplit(Numbered()), FileSplit(Numbered(), workers=2)]
)
def test_batches_follow_the_order_and_the_last_is_short(split):
    order = torch.tensor([4, 0, 0, 3, 1])
    batches = list(split.batches(order.split(2), CPU))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert all(batch.dtype == torch.float32 and batch.shape[1:] == (1, 2, 2) for batch in batches)
    seen = ((torch.cat(batches)[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert seen.tolist() == order.tolist()


@pytest.mark.parametrize(
    "split", [array(), FileSplit(Numbered()), FileSplit(Numbered(), workers=1)]
)
def test_an_empty_tensor_gives_an_empty_batch(split):
    order = [torch.tensor([3]), torch.tensor([], dtype=torch.int64), torch.tensor([1, 2])]
    batches = list(split.batches(order, CPU))
    assert [batch.shape for batch in batches] == [(1, 1, 2, 2), (0, 1, 2, 2), (2, 1, 2, 2)]
    assert all(batch.dtype == torch.float32 for batch in batches)


def test_workers_stay_from_one_pass_to_the_next():
    split, passes = FileSplit(ProcessNumbers(), workers=2), []
    for _ in range(3):
        passes.append({int(batch[0, 0]) for batch in split.batches(torch.arange(4).split(1), CPU)})
    next(split.batches(torch.arange(4).split(1), CPU))  # a pass that is given up
    passes.append({int(batch[0, 0]) for batch in split.batches(torch.arange(4).split(1), CPU)})
    assert all(len(numbers) == 2 and os.getpid() not in numbers for numbers in passes)
    assert all(numbers == passes[0] for numbers in passes)


def test_two_readers_at_once_do_not_disturb_each_other():
    split = FileSplit(Numbered(), workers=1)
    first, second = (split.batches(torch.tensor([[0], [1], [2]]).unbind(), CPU) for _ in range(2))
    seen = [torch.cat([a, b])[:, 0, 0, 0] for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(
        torch.stack(seen), torch.arange(3).view(3, 1).repeat(1, 2) / 127.5 - 1
    )


def test_workers_outlive_the_signals_that_end_a_run():
    split = FileSplit(ProcessNumbers(), workers=1)
    batches = split.batches(torch.arange(6).split(1), CPU)
    worker = int(next(batches)[0, 0])
    for number in (signal.SIGINT, signal.SIGTERM):
        if hasattr(signal, "sigwaitinfo"):
            subprocess.run(
                ["kill", f"-{int(number)}", str(worker)], check=True
            )  # of another process than ours
    assert [int(batch[0, 0]) for batch in batches] == [worker] * 5


def test_workers_end_with_the_program():
    script = """
import torch
from vq.data.splits import FileSplit

class Bytes(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return torch.zeros(1, dtype=torch.uint8)

split = FileSplit(Bytes(), workers=2)
split.itself = split  # kept alive to the very end
print(len(list(split.batches(torch.arange(4).split(1), torch.device("cpu")))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def test_what_a_device_cannot_hold_is_streamed_to_it(monkeypatch):
    """The meta device stands for one with little memory: it holds no values, but takes shapes and indices."""
    meta, free = torch.device("meta"), {"bytes": 100.0}
    monkeypatch.setattr(splits, "_free_memory", lambda device: free["bytes"])
    data = torch.arange(40, dtype=torch.uint8).view(20, 2)
    small, large = ArraySplit(data[:10].clone()), ArraySplit(data)
    for split, stays in ((small, False), (large, True)):
        shapes = [batch.shape for batch in split.batches(torch.arange(10).split(4), meta)]
        assert shapes == [(4, 2), (4, 2), (2, 2)]
        assert (split.data.device.type == "cpu") == stays
    free["bytes"] = 1e9  # decided once: memory that comes free later changes nothing
    assert next(large.batches([torch.arange(3)], meta)).device == meta
    assert large.data.device.type == "cpu"


def test_data_on_a_gpu_stays_there_however_the_gpu_is_named(monkeypatch):
    """``cuda`` is the process's own GPU, ``cuda:1`` what a tensor on it says; its memory may be full by now."""
    monkeypatch.setattr(splits, "_free_memory", lambda device: 0.0)
    split = ArraySplit(SimpleNamespace(device=torch.device("cuda:1"), nbytes=1))
    assert not split._stays(torch.device("cuda"))
    assert not split._stays(torch.device("cuda:1"))
    assert split._stays(torch.device("cuda:0"))


def test_streamed_batches_are_those_of_the_order():
    split = ArraySplit(torch.arange(20, dtype=torch.float32).view(10, 2))
    order = [torch.tensor([9, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([4])]
    gathered = list(splits._ahead(lambda index: split._gathered(index, CPU), order))
    assert [batch.tolist() for batch in gathered] == [[[18, 19], [0, 1]], [], [[8, 9]]]


def test_a_subset_serves_its_rows_with_their_labels():
    whole = ArraySplit(torch.arange(10.0).unsqueeze(1), labels=torch.arange(10))
    part = Subset(whole, torch.tensor([7, 2, 5]))
    (batch,) = part.batches([torch.tensor([2, 0])], CPU)
    assert batch.flatten().tolist() == [5, 7]
    assert (len(part), part.labels.tolist()) == (3, [7, 2, 5])
    assert Subset(ArraySplit(torch.zeros(3, 1)), torch.tensor([0])).labels is None


@pytest.mark.parametrize("stored", [None, (0.0, 9.5)])
def test_what_is_recorded_about_samples_is_read_again(stored):
    values = {"shape": [3, 4, 5], "value_range": [-1, 1], "likelihood": "gaussian"}
    values |= {"stored_range": list(stored)} if stored else {}
    assert SampleSpec.read(values) == SampleSpec((3, 4, 5), (-1.0, 1.0), "gaussian", stored)


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
