"""Tests of data sets never reach the network, and read splits through one fixture."""

import socket

import pytest
import torch


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Every host lookup fails, as on a machine without a network."""

    def refuse(*_args, **_kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def served():
    """A function that gives all samples of a split in their order."""

    def collect(split, batch_size=7):
        order = torch.arange(len(split))
        return torch.cat(list(split.batches(order.split(batch_size), torch.device("cpu"))))

    return collect
