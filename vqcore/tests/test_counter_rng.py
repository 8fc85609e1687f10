"""Draws as a function of a key: repeatable, of the right law, different between keys and places."""

import torch

from vqcore.numerics import counter_rng


def test_a_key_repeats_and_another_key_differs():
    assert torch.equal(counter_rng.uniform(7, 4, 3), counter_rng.uniform(7, 4, 3))
    for other in (8, 7 + 2**32, 0):
        pool = torch.cat([counter_rng.uniform(7, 1000), counter_rng.uniform(other, 1000)])
        assert len(pool.unique()) == 2000
    assert counter_rng.key_of(1, 2) != counter_rng.key_of(2, 1)


def test_uniform_numbers_are_uniform_and_uncorrelated():
    u = counter_rng.uniform(counter_rng.key_of(3), 200_000)
    assert u.dtype == torch.float64
    assert u.min() >= 0
    assert u.max() < 1
    shares = torch.histc(u, 20, 0, 1) / len(u)
    assert (shares - 0.05).abs().max() < 0.003  # six standard errors
    for lag in (1, 2, 64):
        assert torch.corrcoef(torch.stack([u[:-lag], u[lag:]]))[0, 1].abs() < 0.015
    neighbour = counter_rng.uniform(counter_rng.key_of(4), 200_000)
    assert torch.corrcoef(torch.stack([u, neighbour]))[0, 1].abs() < 0.015


def test_uniform_at_gives_the_draws_of_uniform():
    whole = counter_rng.uniform(7, 100)
    numbers = torch.tensor([[99, 0], [42, 42]])
    assert torch.equal(counter_rng.uniform_at(7, numbers), whole[numbers])


def test_normal_numbers_are_normal():
    x = counter_rng.normal(5, 100_000, 2).flatten()
    assert abs(x.mean()) < 0.015
    assert abs(x.std() - 1) < 0.01
    assert abs((x**4).mean() - 3) < 0.1
    assert torch.isfinite(x).all()
    assert counter_rng.normal(5, 0, 3).shape == (0, 3)


def test_a_permutation_has_each_number_once():
    order = counter_rng.permutation(9, 1000)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert not torch.equal(order, counter_rng.permutation(10, 1000))
