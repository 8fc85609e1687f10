"""No test of the data sets reaches the network, and all of them look at splits the same way."""

import socket

import pytest
import torch


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Every look-up of a host fails, as on a machine without a network."""

    def refuse(*_args, **_kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def served():
    """All samples of a split, in its own order."""

    def collect(split, batch_size=7):
        order = torch.arange(len(split))
        return torch.cat(list(split.batches(order.split(batch_size), torch.device("cpu"))))

    return collect
