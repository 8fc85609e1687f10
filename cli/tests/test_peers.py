"""The other processes of a run: named while they are awaited, and when one is lost."""

import logging
import socket
import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from vq.processes import peers
from vq.processes.peers import PeerLostError, announced_wait, lost_peers_in_words, patience
from vqcore.errors import UsageError

RESET = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer "
    "[10.0.0.7]:26016. This is typically caused by a remote worker hanging. GLHF!\nException ..."
)


@pytest.fixture
def second_of_three(monkeypatch):
    """A launcher's environment, with a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"WORLD_SIZE": 3, "RANK": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(peers, "PAUSE", 0.0)
    monkeypatch.setattr(peers, "_POLL", 0.05)
    return port


def said_while_waiting(caplog):
    caplog.set_level(logging.WARNING, "vq")
    with announced_wait():
        while not caplog.messages:
            time.sleep(0.05)
    return caplog.messages[0]


def test_an_absent_main_process_is_named(second_of_three, caplog):
    message = said_while_waiting(caplog)
    place = f"127.0.0.1:{second_of_three}"
    assert message.startswith(f"waiting for 1 of 3 processes to join at {place}: rank 0; 0 s so")
    assert message.endswith("at most 21600 s (VQ_PROCESS_TIMEOUT)")


def test_processes_that_have_not_started_are_named(second_of_three, caplog):
    store = dist.TCPStore(
        "127.0.0.1", second_of_three, is_master=True, wait_for_workers=False,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    store.set("vq/started/0/0", "")
    assert ": rank 2; " in said_while_waiting(caplog)


def test_one_process_waits_for_none(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = threading.active_count()
    with announced_wait():
        assert threading.active_count() == before


@pytest.mark.parametrize("error", [RuntimeError(RESET), dist.DistBackendError("Connection reset")])
def test_a_lost_process_in_words(second_of_three, error):
    with pytest.raises(PeerLostError) as caught, lost_peers_in_words("vq train --resume RUN"):
        raise error
    message = str(caught.value)
    assert message.startswith("another process ended, or cannot be reached: Connection ")
    assert message.endswith("; its own output may say why; vq train --resume RUN")
    assert "GLHF" not in message
    assert "pair.cc" not in message
    assert ("[10.0.0.7]:26016" in message) == (str(error) == RESET)


def test_other_errors_and_those_of_one_process_stay(second_of_three, monkeypatch):
    with pytest.raises(RuntimeError, match="shapes"), lost_peers_in_words():
        raise RuntimeError("shapes")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(RuntimeError, match="closed by peer"), lost_peers_in_words():
        raise RuntimeError("closed by peer")


def test_how_long_to_wait(monkeypatch):
    assert patience() == timedelta(hours=6)
    monkeypatch.setenv("VQ_PROCESS_TIMEOUT", "90")
    assert patience() == timedelta(seconds=90)
    for text in ("soon", "nan", "1e400", "-5"):
        monkeypatch.setenv("VQ_PROCESS_TIMEOUT", text)
        with pytest.raises(UsageError, match="expected a number of seconds above 0"):
            patience()
