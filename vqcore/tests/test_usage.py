"""Usage of the codes, by hand."""

import pytest
import torch

from vqcore import VectorQuantizer
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


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float32])
def test_running_usage_has_the_precision_of_its_own_type(default):
    quantizer = {"name": "codebook", "usage_decay": 0.9}
    table = VectorQuantizer(dim=2, codebook_size=4, quantizer=quantizer).double().quantizer
    torch.set_default_dtype(default)
    try:
        table._track_usage([table], torch.tensor([[3, 2, 0, 2]]))
    finally:
        torch.set_default_dtype(torch.float32)
    expected = [0.9 + 0.1 * 4 * count / 7 for count in (3, 2, 0, 2)]
    for _ in range(2):
        assert table.usage.tolist() == pytest.approx(expected, rel=1e-15)
        assert table.unused_steps.tolist() == [0, 0, 1, 0]
        table._track_usage([table], torch.zeros(1, 4, dtype=torch.int64))  # changes nothing
