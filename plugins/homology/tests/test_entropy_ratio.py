"""The entropy ratio: entropies by hand, its periods, its state, and its inputs."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from vq_homology import entropy_ratio
from vq_homology.entropy_ratio import EntropyRatio
from vq_homology.regularizer import Homology
from vqcore import VectorQuantizer
from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
EUCLIDEAN = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(indices, inputs, *, step=0, size=4, mask=None):
    """Tokens that took codes 0 to ``size - 1`` of a codebook of rows (1, 1)."""
    indices, codes = torch.tensor(indices, dtype=torch.int64), torch.ones(size, 2)
    return LatentBatch(
        codes[indices], codes[indices], indices, codes, EUCLIDEAN, step, mask, inputs
    )


def shannon(*shares):
    return -sum(p * math.log(p) for p in shares)


#: Values whose entropy is that of two equal halves: log 2 / log 256 = 1/8.
HALVES = torch.tensor([0.0, 1.0, 0.0, 1.0])


# -- entropies --------------------------------------------------------------


def test_usage_entropy_is_relative_to_log_k():
    assert entropy_ratio.usage_entropy(batch([0, 1, 2, 3], HALVES)).item() == pytest.approx(1)
    assert entropy_ratio.usage_entropy(batch([2] * 9, HALVES)).item() == 0
    expected = shannon(0.5, 0.25, 0.25) / math.log(4)
    assert entropy_ratio.usage_entropy(batch([0, 0, 1, 2, -1], HALVES)).item() == pytest.approx(
        expected
    )
    masked = batch([0, 0, 1, 2, 3], HALVES, mask=torch.tensor([True] * 4 + [False]))
    assert entropy_ratio.usage_entropy(masked).item() == pytest.approx(expected)
    assert entropy_ratio.usage_entropy(batch([], HALVES)).item() == 0
    assert entropy_ratio.usage_entropy(batch([0, 0], HALVES, size=1)).item() == 0


def test_usage_entropy_of_an_implicit_codebook_uses_its_size():
    one = batch([0, 1], HALVES)
    implicit = LatentBatch(one.z, one.z_q, one.indices, None, EUCLIDEAN, 0, codebook_size=16)
    assert entropy_ratio.usage_entropy(implicit).item() == pytest.approx(0.25)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e30])
@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_value_entropy_is_of_256_bins_over_the_range(scale, shift):
    levels = torch.arange(256.0).repeat(3) / 255
    assert entropy_ratio.value_entropy(scale * (levels + shift)).item() == pytest.approx(
        1, abs=1e-3
    )
    assert entropy_ratio.value_entropy(scale * (HALVES + shift)).item() == pytest.approx(1 / 8)


def test_value_entropy_ignores_non_finite_values_and_is_0_for_equal_or_no_values():
    bad = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert entropy_ratio.value_entropy(torch.cat([HALVES, bad])).item() == pytest.approx(1 / 8)
    for nothing in (bad, torch.zeros(0), torch.full((9,), 3.0)):
        assert entropy_ratio.value_entropy(nothing).item() == 0
    assert entropy_ratio.value_entropy(
        torch.tensor([0, 255, 0, 255], dtype=torch.uint8)
    ).item() == pytest.approx(1 / 8)
    assert torch.isfinite(entropy_ratio.value_entropy(torch.tensor([-3e38, 0, 3e38])))


def test_the_papers_entropy_does_not_detect_a_collapse():
    """4096 rows on one code have log 4096 = 8.3177 nats, and a usage entropy of 0."""
    one_code = draw(1, 64).expand(4096, 64)
    assert entropy_ratio.row_entropy(one_code).item() == pytest.approx(8.3177, abs=1e-4)
    assert entropy_ratio.row_entropy(
        torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    ).item() == pytest.approx(shannon(0.25, 0.75))
    for nothing in (torch.zeros(5, 3), torch.zeros(0, 3), torch.tensor([[1.0], [-1.0]])):
        assert entropy_ratio.row_entropy(nothing).item() == 0


# -- the ratio --------------------------------------------------------------


def test_the_ratio_of_a_period_applies_in_the_next_and_is_1_before():
    ratio = EntropyRatio(3, "usage")
    usage = [[0, 1], [0, 0], [0, 1, 2, 3], [0, 1], [0, 1], [0, 1], [0, 0]]
    found = [ratio(batch(indices, HALVES, step=step)).item() for step, indices in enumerate(usage)]
    first, second = (abs(1 - mean / (1 / 8)) for mean in ((0.5 + 0 + 1) / 3, 0.5))
    assert found == pytest.approx([1, 1, 1, first, first, first, second])
    names = ("homology_strength", "homology_code_entropy", "homology_input_entropy")
    assert ratio.metrics() == pytest.approx(dict(zip(names, (second, 0, 1 / 8), strict=True)))
    assert EntropyRatio(3, "usage").metrics() == {}


def test_codebooks_of_a_step_are_averaged_and_the_inputs_counted_once():
    ratio = EntropyRatio(2, "usage")
    for step, inputs in ((0, HALVES), (1, HALVES[:1])):
        for indices in ([0, 1], [0, 0], [0, 1, 2, 3]):
            ratio(batch(indices, inputs, step=step))
    assert ratio(batch([0], HALVES, step=2)).item() == pytest.approx(abs(1 - 0.5 / (1 / 16)))


def test_skipped_steps_do_not_count_in_the_average():
    ratio = EntropyRatio(10, "usage")
    for step in (4, 8):
        ratio(batch([0, 1], HALVES, step=step))
    assert ratio(batch([0, 0], HALVES, step=12)).item() == pytest.approx(abs(1 - 0.5 / (1 / 8)))


def test_inputs_without_entropy_leave_the_strength_unchanged():
    ratio = EntropyRatio(1, "usage")
    given = [HALVES, HALVES[:1], HALVES[:1], HALVES]
    found = [ratio(batch([0, 1], inputs, step=step)).item() for step, inputs in enumerate(given)]
    assert found == pytest.approx([1, 3, 3, 3])


def test_eval_does_not_change_the_state():
    ratio = EntropyRatio(1, "usage").eval()
    for step in range(3):
        assert ratio(batch([0, 1], HALVES, step=step)).item() == 1


@pytest.mark.parametrize("entropy", ["usage", "paper"])
def test_the_strength_is_a_factor_of_the_term_and_has_no_gradient(entropy):
    options = {"points": "codebook", "h0_target": 9.0}
    driven = Homology(**options, strength="entropy-ratio", period=1, entropy=entropy)
    codes, inputs = draw(16, 3).requires_grad_(), draw(8, 5, seed=1)
    for step in range(2):
        one = LatentBatch(
            codes[:8], codes[:8], torch.arange(8), codes, EUCLIDEAN, step, None, inputs
        )
        term, plain = driven(one), Homology(**options)(one)
        factor = (term / plain).item()
        (found,), (expected,) = (torch.autograd.grad(each, codes) for each in (term, plain))
        torch.testing.assert_close(found, factor * expected)
    if entropy == "usage":
        ratio = math.log(8) / math.log(16) / entropy_ratio.value_entropy(inputs)
    else:
        ratio = entropy_ratio.row_entropy(codes[:8].detach()) / entropy_ratio.row_entropy(inputs)
    assert factor == pytest.approx(abs(1 - ratio.item()), rel=1e-6)


def test_a_resumed_run_continues_exactly():
    options = {"strength": "entropy-ratio", "period": 3, "points": "codebook"}
    codes = draw(8, 3)

    def train(layer, steps):
        found = []
        for step in steps:
            indices, inputs = draw(32, seed=step).mul(4).long().abs() % 8, draw(32, 4, seed=step)
            one = LatentBatch(
                codes[indices], codes[indices], indices, codes, EUCLIDEAN, step, None, inputs
            )
            found.append(layer(one).item())
        return found

    whole, first, second = (Homology(**options) for _ in range(3))
    expected = train(whole, range(10))[5:]
    train(first, range(5))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert train(second, range(5, 10)) == expected
    assert train(Homology(**options), range(5, 10)) != expected  # the state is what does it


def test_a_constant_strength_keeps_no_state():
    assert set(Homology().state_dict()) == {"_extra_state"}


def test_missing_inputs_are_an_error():
    layer = VectorQuantizer(
        dim=4, codebook_size=8, regularizers={"homology": {"strength": "entropy-ratio"}}
    )
    with pytest.raises(UsageError, match="inputs=your_inputs"):
        layer(draw(16, 4))


@pytest.mark.parametrize("quantizer", ["codebook", "grouped", "fsq"])
def test_it_trains_in_the_layer(quantizer):
    if quantizer not in REGISTRY.names("quantizer"):
        pytest.skip(f"no quantizer {quantizer} is installed")
    options = {"homology": {"strength": "entropy-ratio", "period": 1}}
    layer = VectorQuantizer(dim=4, codebook_size=16, quantizer=quantizer, regularizers=options)
    for _ in range(2):
        z = draw(16, 4).requires_grad_()
        out = layer(z, inputs=draw(16, 9))
        out.loss.backward()
        layer.update()
    assert out.losses["homology"] > 0
    assert torch.isfinite(z.grad).all()
