"""The other processes of a run: which ones have not started, and that one was lost."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from vq.processes.launched import several
from vqcore.errors import RunError, UsageError, shown

_log = logging.getLogger(__name__)
#: Sets how long a process waits for the others, in seconds.
TIMEOUT = "VQ_PROCESS_TIMEOUT"
#: By default long: rank 0 may download a data set, or scan a million images.
PATIENCE = 6 * 3600.0
#: Seconds between two messages of a process that waits for others to start.
PAUSE = 30.0
#: Seconds between two looks, and the time in which the store has to answer.
_POLL, _ANSWER = 0.5, timedelta(seconds=5)
#: How gloo, NCCL and the store say that another process cannot be reached.
_SAID = ("closed by peer", "reset by peer", "broken pipe", "gloo", "nccl", "timed out")


class PeerLostError(RunError):
    """Another process of the run ended, or cannot be reached."""


def patience() -> timedelta:
    """How long a process waits for another one, to start or in a step.

    Raises:
        UsageError: if the variable ``TIMEOUT`` holds anything but seconds.
    """
    text = os.environ.get(TIMEOUT, str(PATIENCE))
    try:
        limit = timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        limit = timedelta(0)
    if limit <= timedelta(0):
        raise UsageError(f"{TIMEOUT} = {shown(text)}: expected a number of seconds above 0")
    return limit


@contextmanager
def announced_wait() -> Iterator[None]:
    """Inside, processes wait for each other to start; a log line says now and then for which."""
    if not several():
        yield
        return
    started = threading.Event()
    thread = threading.Thread(target=_announce, args=(started,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        started.set()
        thread.join()  # a thread inside the store would abort an exit


@contextmanager
def lost_peers_in_words(fix: str = "") -> Iterator[None]:
    """Inside, what collectives raise when another process is gone becomes an error for a user.

    Raises:
        PeerLostError: with the address, or what else is known, and the ``fix``.
    """
    try:
        yield
    except RuntimeError as error:
        known = isinstance(error, dist.DistError) or any(w in str(error).lower() for w in _SAID)
        if not (several() and known):
            raise
        first = re.split(r"\. |\n", str(error))[0]
        reason = re.sub(r"^\[[^]]*\.cc:\d+\] ", "", first)
        lost = f"another process ended, or cannot be reached: {reason}"
        hint = f"; {fix}" if fix else ""
        raise PeerLostError(f"{lost}; its own output may say why{hint}") from error


def _announce(started: threading.Event) -> None:
    """Tell the store that this process has started, and ask it now and then who has not."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ["WORLD_SIZE"])
    host, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0"))
    prefix = f"vq/started/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    store: dist.Store | None = None
    began = told = time.monotonic()
    while not started.wait(_POLL):
        try:
            if store is None:
                socket.create_connection((host, port), _POLL).close()  # TCPStore itself is noisy
                store = dist.TCPStore(host, port, wait_for_workers=False, timeout=_ANSWER)
                store.set(f"{prefix}/{rank}", "")
            if time.monotonic() - told < PAUSE:
                continue
            missing = [each for each in range(world) if not store.check([f"{prefix}/{each}"])]
        except (OSError, RuntimeError):  # nothing answers there
            store, missing = None, [0]
        now = time.monotonic()
        if missing and now - told >= PAUSE and os.environ.get("LOCAL_RANK", "0") == "0":
            told = now
            some = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            limit = f"at most {patience().total_seconds():.0f} s ({TIMEOUT})"
            _log.warning(
                f"waiting for {len(missing)} of {world} processes to join at {host}:{port}: rank "
                f"{some}; {now - began:.0f} s so far, {limit}"
            )
