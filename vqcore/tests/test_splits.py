import os
import signal
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from vqcore.data import tensor_split
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.partition import train_test_indices
from vqcore.data.tensor_split import SubsetSplit, TensorSplit, to_float
from vqcore.errors import RunError
from vqcore.interfaces.dataset import SampleSpec, TrainingBatch

CPU = torch.device("cpu")


class Numbered(Dataset):
    """Sample i is an image of value i; sample 5 is broken."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 5:
            raise RunError("sample 5 cannot be read")
        return torch.full((1, 2, 2), index, dtype=torch.uint8)


class ProcessNumbers(Dataset):
    """Every sample is the id of the process that read it."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([os.getpid()])


def array():
    return TensorSplit(torch.stack([Numbered()[index] for index in range(5)] * 2)[:7])


@pytest.mark.parametrize(
    "split", [array(), DatasetSplit(Numbered()), DatasetSplit(Numbered(), workers=2)]
)
def test_batches_follow_the_order_and_the_last_is_short(split):
    order = torch.tensor([4, 0, 0, 3, 1])
    batches = list(split.batches(order.split(2), CPU))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert all(batch.dtype == torch.float32 and batch.shape[1:] == (1, 2, 2) for batch in batches)
    seen = ((torch.cat(batches)[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert seen.tolist() == order.tolist()


@pytest.mark.parametrize(
    "split", [array(), DatasetSplit(Numbered()), DatasetSplit(Numbered(), workers=1)]
)
def test_an_empty_tensor_gives_an_empty_batch(split):
    order = [torch.tensor([3]), torch.tensor([], dtype=torch.int64), torch.tensor([1, 2])]
    batches = list(split.batches(order, CPU))
    assert [batch.shape for batch in batches] == [(1, 1, 2, 2), (0, 1, 2, 2), (2, 1, 2, 2)]
    assert all(batch.dtype == torch.float32 for batch in batches)


def test_workers_persist_across_passes():
    split, passes = DatasetSplit(ProcessNumbers(), workers=2), []
    for _ in range(3):
        passes.append({int(batch[0, 0]) for batch in split.batches(torch.arange(4).split(1), CPU)})
    next(split.batches(torch.arange(4).split(1), CPU))  # an abandoned pass
    passes.append({int(batch[0, 0]) for batch in split.batches(torch.arange(4).split(1), CPU)})
    assert all(len(numbers) == 2 and os.getpid() not in numbers for numbers in passes)
    assert all(numbers == passes[0] for numbers in passes)


def test_two_readers_at_once_are_independent():
    split = DatasetSplit(Numbered(), workers=1)
    first, second = (split.batches(torch.tensor([[0], [1], [2]]).unbind(), CPU) for _ in range(2))
    seen = [torch.cat([a, b])[:, 0, 0, 0] for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(
        torch.stack(seen), torch.arange(3).view(3, 1).repeat(1, 2) / 127.5 - 1
    )


def test_workers_ignore_the_signals_that_end_a_run():
    split = DatasetSplit(ProcessNumbers(), workers=1)
    batches = split.batches(torch.arange(6).split(1), CPU)
    worker = int(next(batches)[0, 0])
    for number in (signal.SIGINT, signal.SIGTERM):
        if hasattr(signal, "sigwaitinfo"):
            subprocess.run(
                ["kill", f"-{int(number)}", str(worker)], check=True
            )  # sent by another process
    assert [int(batch[0, 0]) for batch in batches] == [worker] * 5


def test_workers_end_with_the_program():
    script = """
import torch
from vqcore.data.dataset_split import DatasetSplit

class Bytes(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return torch.zeros(1, dtype=torch.uint8)

split = DatasetSplit(Bytes(), workers=2)
split.itself = split  # kept alive to the very end
print(len(list(split.batches(torch.arange(4).split(1), torch.device("cpu")))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=3600
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def test_data_too_large_for_a_device_are_streamed(monkeypatch):
    """The meta device stands for one with little memory: it takes shapes and indices only."""
    meta, free = torch.device("meta"), {"bytes": 100.0}
    monkeypatch.setattr(tensor_split, "_free_memory", lambda device: free["bytes"])
    data = torch.arange(40, dtype=torch.uint8).view(20, 2)
    small, large = TensorSplit(data[:10].clone()), TensorSplit(data)
    for split, stays in ((small, False), (large, True)):
        shapes = [batch.shape for batch in split.batches(torch.arange(10).split(4), meta)]
        assert shapes == [(4, 2), (4, 2), (2, 2)]
        assert (split.data.device.type == "cpu") == stays
    free["bytes"] = 1e9  # decided once, even if memory is freed later
    assert next(large.batches([torch.arange(3)], meta)).device == meta
    assert large.data.device.type == "cpu"


def test_data_on_a_gpu_stay_there_however_the_gpu_is_named(monkeypatch):
    """``cuda`` and ``cuda:1`` may be the same GPU, whose memory may be full by now."""
    monkeypatch.setattr(tensor_split, "_free_memory", lambda device: 0.0)
    split = TensorSplit(SimpleNamespace(device=torch.device("cuda:1"), nbytes=1))
    assert not split._is_streamed(torch.device("cuda"))
    assert not split._is_streamed(torch.device("cuda:1"))
    assert split._is_streamed(torch.device("cuda:0"))


def test_streamed_batches_follow_the_order():
    split = TensorSplit(torch.arange(20, dtype=torch.float32).view(10, 2))
    order = [torch.tensor([9, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([4])]
    gathered = list(tensor_split._prefetched(partial(split._gather, device=CPU), order))
    assert [batch.tolist() for batch in gathered] == [[[18, 19], [0, 1]], [], [[8, 9]]]


def test_a_subset_serves_its_rows_with_their_labels():
    whole = TensorSplit(torch.arange(10.0).unsqueeze(1), labels=torch.arange(10))
    part = SubsetSplit(whole, torch.tensor([7, 2, 5]))
    (batch,) = part.batches([torch.tensor([2, 0])], CPU)
    assert batch.flatten().tolist() == [5, 7]
    assert (len(part), part.labels.tolist()) == (3, [7, 2, 5])
    assert SubsetSplit(TensorSplit(torch.zeros(3, 1)), torch.tensor([0])).labels is None


@pytest.mark.parametrize("stored", [None, (0.0, 9.5)])
def test_a_recorded_sample_spec_is_read_again(stored):
    values = {"shape": [3, 4, 5], "value_range": [-1, 1], "likelihood": "gaussian"}
    values |= {"stored_range": list(stored)} if stored else {}
    assert SampleSpec.read(values) == SampleSpec((3, 4, 5), (-1.0, 1.0), "gaussian", stored)


@pytest.mark.parametrize("split", [array(), DatasetSplit(Numbered())])
def test_an_empty_order_gives_no_batch(split):
    assert list(split.batches([], CPU)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_draws_no_random_number(workers):
    before = torch.get_rng_state()
    list(DatasetSplit(Numbered(), workers).batches(torch.arange(3).split(2), CPU))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_keeps_its_message(workers):
    with pytest.raises(RunError) as caught:
        list(DatasetSplit(Numbered(), workers).batches([torch.tensor([1, 5])], CPU))
    assert str(caught.value) == "sample 5 cannot be read"


def test_uint8_is_served_in_minus_one_to_one_and_kept_as_uint8():
    split = TensorSplit(torch.tensor([[0], [255], [51]], dtype=torch.uint8))
    (batch,) = split.batches([torch.arange(3)], CPU)
    torch.testing.assert_close(batch, torch.tensor([[-1.0], [1.0], [-0.6]]))
    assert split.data.dtype == torch.uint8


def test_bool_is_served_as_zero_and_one_and_floats_unchanged():
    torch.testing.assert_close(to_float(torch.tensor([True, False])), torch.tensor([1.0, 0.0]))
    floats = torch.tensor([0.25, 7.0])
    assert to_float(floats) is floats


def test_a_batch_is_no_view_of_the_data():
    split = TensorSplit(torch.zeros(3, 1))
    for batch in split.batches([torch.arange(3)], CPU):
        batch += 1
    assert split.data.sum() == 0


def test_train_and_test_indices_are_fixed_disjoint_and_complete():
    train, test = train_test_indices(10, 0.3)
    assert sorted(train.tolist() + test.tolist()) == list(range(10))
    # pinned: another permutation would compare runs on different held-out samples
    assert test.tolist() == [1, 4, 7]
    assert train_test_indices(1797, 0.2)[1][:5].tolist() == [10, 14, 21, 22, 26]


@pytest.mark.parametrize(("share", "sizes"), [(0.01, (4, 1)), (0.99, (1, 4)), (0.4, (3, 2))])
def test_no_part_of_the_partition_is_empty(share, sizes):
    train, test = train_test_indices(5, share)
    assert (len(train), len(test)) == sizes


class Cut(Numbered):
    """Sample i with the numbers that were drawn for it."""

    def __getitem__(self, key):
        index, draws = key if isinstance(key, tuple) else (key, [0.0] * 4)
        super().__getitem__(index)
        return torch.tensor([index, *draws], dtype=torch.float64)


def training(split, positions, key=7):
    """The batches of a step's samples (3, 4, 5, 6), of which a process holds some positions."""
    batch = TrainingBatch(positions + 3, key, positions)
    return next(split.training_batches([batch], CPU))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_sample_stands_in_for_one_that_cannot_be_read(workers):
    split = DatasetSplit(Numbered(), workers, skips=True)
    batches = list(split.batches([torch.tensor([5, 4]), torch.tensor([5])], CPU))
    assert torch.equal(batches[0][0], batches[1][0])
    seen = [((batch[:, 0, 0, 0] + 1) * 127.5).round().tolist() for batch in batches]
    assert seen == [[6, 4], [6]]
    assert (split.skipped, split.replaced) == ({5: "sample 5 cannot be read"}, 2)


def test_where_too_many_samples_cannot_be_read_the_run_ends():
    class Broken(Numbered):
        def __getitem__(self, index):
            raise RunError(f"sample {index} cannot be read")

    with pytest.raises(RunError, match="7 samples in a row cannot be read; sample 2 cannot"):
        list(DatasetSplit(Broken(), skips=True).batches([torch.tensor([2])], CPU))


@pytest.mark.parametrize("workers", [0, 1])
def test_draws_depend_on_the_key_and_the_position_alone(workers):
    split = DatasetSplit(Cut(), workers, cuts=True, skips=True)
    whole = training(split, torch.arange(4))
    assert whole[:, 0].tolist() == [3, 4, 6, 6]  # 5 cannot be read
    assert len(whole[:, 1:].unique()) == 16
    parts = [training(split, part) for part in torch.arange(4).tensor_split(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(training(SubsetSplit(split, torch.arange(7)), torch.arange(4)), whole)
    assert (training(split, torch.arange(4), key=8)[:, 1:] != whole[:, 1:]).all()
    assert (next(split.batches([torch.arange(4)], CPU))[:, 1:] == 0).all()
