"""Problems for the search."""

import pytest


@pytest.fixture
def whole_numbers():
    """A function of N, K and S: a search without rounding, with many ties, and its solution."""
    import torch

    def made(n, k, width, dtype=torch.float32):
        generator = torch.Generator().manual_seed(n + k + width)
        query, weight, bias = (
            torch.randint(-4, 5, shape, generator=generator).to(dtype)
            for shape in ((n, width), (k, width), (k,))
        )
        scores = query @ weight.T + bias
        lowest = torch.where(scores == scores.amin(1, keepdim=True), torch.arange(k), k).amin(1)
        return (query, weight, bias), lowest

    return made
