"""Tests of the fused kernel under Triton's interpreter: ``test_search.py`` runs this file."""

import pytest
import torch

from vqcore.search import cpu, cuda, fused


@pytest.mark.parametrize("width", [1, 3, 15, 16, 33, 50, 64, 257])
@pytest.mark.parametrize(("n", "k"), [(0, 5), (1, 1), (70, 17), (33, 130), (3, 3000)])
def test_the_fused_kernel_gives_the_lowest_of_the_best(whole_numbers, n, k, width):
    problem, lowest = whole_numbers(n, k, width)
    assert torch.equal(fused.find(*problem), lowest)


@pytest.mark.parametrize(("n", "k", "width"), [(300, 200, 8), (200, 150, 64), (20, 2500, 100)])
def test_the_fused_kernel_is_as_accurate_as_float32(n, k, width):
    generator = torch.Generator().manual_seed(0)
    query, codes = (torch.randn(count, width, generator=generator) for count in (n, k))
    problem = query, -2 * codes, codes.square().sum(1)
    scores = problem[0].double() @ problem[1].double().T + problem[2].double()
    excess = scores.gather(1, fused.find(*problem).unsqueeze(1)).squeeze(1) - scores.amin(1)
    assert excess.max() < 1e-4


@pytest.mark.parametrize("width", [8, 32])
def test_the_fused_kernel_reads_tensors_in_any_layout(whole_numbers, width):
    (query, weight, bias), _ = whole_numbers(70, 40, width)
    query, weight = (
        x.T.contiguous().T for x in (query + 1e-3, weight + 1e-3)
    )  # float16 has a rest
    bias = torch.stack([bias, bias], 1)[:, 0]
    expected = fused.find(query.contiguous(), weight.contiguous(), bias.contiguous())
    assert torch.equal(fused.find(query, weight, bias), expected)


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e15, 1e17])
def test_the_fused_kernel_keeps_its_accuracy_at_every_scale(scale):
    """Of the data, and of the codes among each other: float16 alone holds neither."""
    generator = torch.Generator().manual_seed(0)
    query, codes = (torch.randn(count, 20, generator=generator) for count in (100, 64))
    query, codes = scale * query, codes * torch.logspace(-6, 0, 64).unsqueeze(1)
    problem = query, -2 * codes, torch.zeros(64)
    scores = problem[0].double() @ problem[1].double().T
    excess = scores.gather(1, fused.find(*problem).unsqueeze(1)).squeeze(1) - scores.amin(1)
    assert (excess / scores.abs().amax(1)).max() < 1e-6


def test_the_fused_kernel_treats_nan_and_inf_as_the_cpu_does(whole_numbers):
    (query, weight, bias), _ = whole_numbers(40, 70, 20)
    query[3], query[5, 2], bias[4:9] = torch.nan, torch.nan, torch.inf
    assert torch.equal(fused.find(query, weight, bias), cpu.find(query, weight, bias))
    nowhere = torch.full((70,), torch.inf)
    assert fused.find(query, weight, nowhere).unique().tolist() == [0]


def test_a_kernel_that_fails_is_replaced_by_tiles(monkeypatch, caplog):
    def broken(*problem):
        raise RuntimeError("no compiler")

    cuda._fused_runs.cache_clear()
    widths = 4, 32, 200, cuda.WIDEST + 1
    runs = [cuda._fused_runs(torch.device("cpu"), width) for width in widths]
    assert runs == [True, True, True, False]
    cuda._fused_runs.cache_clear()
    monkeypatch.setattr(fused, "find", broken)
    assert not cuda._fused_runs(torch.device("cpu"), 4)
    assert "tiles replace it: RuntimeError: no compiler" in caplog.text
    cuda._fused_runs.cache_clear()
