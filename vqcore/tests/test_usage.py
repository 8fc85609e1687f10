"""Usage of the codes, by hand."""

import pytest
import torch

from vqcore.codebook.usage import code_counts, codes_used, perplexity


def test_counts_leave_masked_tokens_out():
    assert code_counts(torch.tensor([[0, 2, 2], [-1, 2, 0]]), 4).tolist() == [2, 0, 3, 0]


def test_perplexity_by_hand():
    assert perplexity(torch.tensor([5, 5, 5, 5])).item() == pytest.approx(4.0)
    assert perplexity(torch.tensor([9, 0, 0])).item() == pytest.approx(1.0)
    assert perplexity(torch.tensor([2, 1, 1])).item() == pytest.approx(2**1.5)  # entropy 1.5 bits
    assert perplexity(torch.tensor([[1, 1], [4, 0]])).tolist() == pytest.approx([2.0, 1.0])


def test_empty_counts_have_a_perplexity_of_one():
    assert perplexity(torch.zeros(3, dtype=torch.int64)).item() == pytest.approx(1.0)


def test_codes_used():
    assert codes_used(torch.tensor([[1, 0, 3], [0, 0, 1]])).tolist() == [2, 1]
