"""A split of a torch ``Dataset``, read by worker processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vqcore.data.augment import crop_draws
from vqcore.data.tensor_split import to_float
from vqcore.errors import RunError, VQError
from vqcore.interfaces.dataset import Split, TrainingBatch

#: Samples one after the other that are tried before a run ends: all of them may be broken.
_TRIES = 100


class DatasetSplit(Split):
    """Samples read when they are needed, by worker processes that live as long as the split.

    Args:
        dataset: map-style, of tensors of one shape, usually uint8 images (C, H, W). A ``VQError``
            that it raises ends the run with that message.
        workers: processes that read ahead; 0 reads in this process, None takes
            ``default_workers``.
        labels: (N,) int64, or None.
        convert: maps a stored batch on the device to the float batch that is served.
        names: of each sample, or None.
        cuts: in training, the data set is asked for ``(number, draws)`` instead of a number, with
            the draws of ``crop_draws``.
        skips: for a sample that raises a ``VQError``, the next one that can be read stands in.
    """

    def __init__(
        self,
        dataset: Dataset[Tensor],
        workers: int | None = 0,
        labels: Tensor | None = None,
        convert: Callable[[Tensor], Tensor] = to_float,
        *,
        names: Sequence[str] | None = None,
        cuts: bool = False,
        skips: bool = False,
    ) -> None:
        self.dataset = dataset
        self.workers = default_workers() if workers is None else workers
        self.labels = labels
        self.convert = convert
        self.names = names
        self.cuts = cuts
        self.skipped: dict[int, str] | None = {} if skips else None
        self._readable = _Readable(dataset, skips)
        self._idle: dict[bool, tuple[_Order, DataLoader[Any]]] = {}  # by whether it pins memory
        self._empty: Tensor | None = None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # map-style data sets have a length

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        return self._read((samples.tolist() for samples in chosen), device)

    def training_batches(
        self, chosen: Iterable[TrainingBatch], device: torch.device
    ) -> Iterator[Tensor]:
        """See ``Split.training_batches``."""
        if not self.cuts:
            return super().training_batches(chosen, device)
        return self._read((_with_draws(batch) for batch in chosen), device)

    def end_at_unreadable(self) -> None:
        """From now on, let a sample that cannot be read end the run, see ``skips``."""
        self.skipped, self._readable.tries = None, 1
        self._idle.clear()

    def _read(self, chosen: Iterable[list[Any]], device: torch.device) -> Iterator[Tensor]:
        """Batches of the samples with these keys of the data set."""
        pinned = device.type == "cuda"
        # A loader in use is not idle: a second reader at the same time gets its own.
        order, loader = self._idle.pop(pinned) if pinned in self._idle else self._loader(pinned)
        order.chosen, error = chosen, None
        try:
            for batch in loader:
                if isinstance(batch, VQError):
                    error = batch
                    break
                samples, unreadable = batch
                if self.skipped is not None:
                    self.skipped |= unreadable
                    self.replaced += len(unreadable)
                yield self.convert(self._or_empty(samples).to(device, non_blocking=True))
        finally:
            if error is None:
                self._idle[pinned] = order, loader
            # Ends the workers of a failed loader now: the error's traceback would keep them alive.
            del order, loader
        if error is not None:
            raise error

    def _loader(self, pinned: bool) -> tuple[_Order, DataLoader[Any]]:
        order = _Order()
        loader: DataLoader[Any] = DataLoader(
            self._readable,
            batch_sampler=order,
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=pinned,
            persistent_workers=self.workers > 0,
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # else the global one draws the workers' seed
        )
        return order, loader

    def _or_empty(self, batch: Tensor | None) -> Tensor:
        if batch is not None:
            return batch
        if self._empty is None:
            first = self._readable[0]
            if isinstance(first, VQError):
                raise first
            self._empty = first[0].unsqueeze(0)[:0]  # of the shape of a sample
        return self._empty


def default_workers() -> int:
    """As many as this process has cores for besides its own, from 2 to 8."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 2), 8)


class _Order:
    """The keys of each batch's samples, replaced before each pass of the loader."""

    chosen: Iterable[list[Any]] = ()

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.chosen)


class _Readable(Dataset[Any]):
    """Samples, each with the reasons of those that it stands in for, by their numbers.

    It returns a ``VQError`` instead of raising it: a worker would wrap it in a traceback.
    """

    def __init__(self, dataset: Dataset[Tensor], skips: bool) -> None:
        self.dataset = dataset
        self.tries = min(len(dataset), _TRIES) if skips else 1  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        number, draws = key if isinstance(key, tuple) else (key, None)
        unreadable: dict[int, str] = {}
        for offset in range(self.tries):
            row = (number + offset) % len(self.dataset) if offset else number  # type: ignore[arg-type]
            try:
                return self.dataset[row if draws is None else (row, draws)], unreadable
            except VQError as error:
                failure = error
                unreadable[row] = str(error)
        if self.tries == 1:
            return failure
        return RunError(f"{self.tries} samples in a row cannot be read; {unreadable[number]}")


def _with_draws(batch: TrainingBatch) -> list[Any]:
    draws = crop_draws(batch.key, batch.positions).tolist()
    return list(zip(batch.samples.tolist(), draws, strict=True))


def _collate(samples: list[Any]) -> Any:
    """A batch, or None of no samples, with what could not be read; or an error instead."""
    errors = (sample for sample in samples if isinstance(sample, VQError))
    if error := next(errors, None):
        return error
    unreadable = {row: reason for _, found in samples for row, reason in found.items()}
    return default_collate([tensor for tensor, _ in samples]) if samples else None, unreadable


def _ignore_signals(_worker: int) -> None:
    """Leave signals to the training process, which needs batches until it has stopped.

    They often reach a whole process group. SIGTERM from the parent still ends a worker.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_signal_of_parent, daemon=True).start()


def _exit_on_signal_of_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass  # sent by another process, which has sent it to the parent too
    os._exit(0)
