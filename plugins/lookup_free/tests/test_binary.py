"""LFQ and BSQ: codes, commitment and the entropy of bits, by hand and against all 2^d codes."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from vq_lookup_free.entropy import bit_entropy, bit_probabilities, usage_entropy
from vqcore import VectorQuantizer
from vqcore.errors import SettingError
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
LOG2 = math.log(2)


def build(name="lfq", codebook_size=16, manifold="euclidean", **options):
    space = REGISTRY.build(REGISTRY.resolve("manifold", manifold))
    chosen = REGISTRY.resolve("quantizer", {"name": name, **options})
    return REGISTRY.build(chosen, dim=8, codebook_size=codebook_size, manifold=space)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# -- codes ------------------------------------------------------------------


def test_lfq_by_hand():
    layer = build(codebook_size=8)
    assert layer.dim == 3
    out = layer(torch.tensor([[0.5, -2.0, 1e-9], [0.0, 3.0, -1.0]]))
    assert out.z_q.tolist() == [[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]
    assert out.indices.tolist() == [1 + 4, 2]
    # commitment: (0.25 + 1 + 1 + 1 + 4 + 0)/6
    assert out.losses["commitment"].item() == pytest.approx(0.25 * 7.25 / 6)


def test_bsq_by_hand():
    layer = build("bsq", codebook_size=16)
    u = layer.tangent(torch.tensor([[3.0, -4.0, 0.0, 0.0]]))
    torch.testing.assert_close(u, torch.tensor([[0.6, -0.8, 0.0, 0.0]]))
    out = layer(u)
    assert out.z_q.tolist() == [[0.5, -0.5, -0.5, -0.5]]
    assert out.indices.tolist() == [1]
    assert set(out.losses) == {"bit_entropy"}


@pytest.mark.parametrize("name", ["lfq", "bsq"])
def test_the_code_is_the_nearest_of_all(name):
    layer = build(name, codebook_size=64)
    z = layer.tangent(normal(200, 6).float())
    every = layer.decode(torch.arange(64))
    assert torch.equal(layer.encode(z), torch.cdist(z, every).argmin(1))


def test_no_latent_of_bsq_is_far_from_its_code():
    layer = build("bsq", codebook_size=256)
    z = layer.tangent(torch.cat([normal(1000, 8), torch.eye(8).double()]))
    furthest = (z - layer(z).z_q).norm(dim=1).max()
    assert furthest.item() == pytest.approx((2 - 2 / 8**0.5) ** 0.5)


def test_bsq_depends_on_the_direction_alone_and_maps_zero_to_zero():
    layer = build("bsq", codebook_size=8)
    z = normal(1, 3).float()
    for length in (1e-10, 1.0, 1e30):
        torch.testing.assert_close(layer.tangent(length * z), layer.tangent(z))
    zero = torch.zeros(1, 3, requires_grad=True)
    layer.tangent(zero).sum().backward()
    assert torch.equal(layer.tangent(zero), torch.zeros(1, 3))
    assert torch.equal(zero.grad, torch.ones(1, 3))


def test_the_derivative_of_bsqs_sphere():
    layer = build("bsq", codebook_size=16)
    assert torch.autograd.gradcheck(layer.tangent, normal(20, 4).requires_grad_())


@pytest.mark.parametrize("name", ["lfq", "bsq"])
@pytest.mark.parametrize(
    ("size", "near"),
    [(1, "2"), (3, "2 or 4"), (1000, "512 or 1024"), (2**62 + 1, "4611686018427387904")],
)
def test_sizes_that_are_no_power_of_two_are_refused_with_the_nearest(name, size, near):
    with pytest.raises(
        SettingError, match=rf"codebook_size = {size}: expected a power of two .*; choose {near}$"
    ):
        VectorQuantizer(dim=8, codebook_size=size, quantizer=name)


@pytest.mark.parametrize("name", ["lfq", "bsq"])
def test_more_stages_reduce_the_error(name):
    z = normal(500, 8).float()
    errors = []
    for stages in range(1, 5):
        choice = {"name": "residual", "stages": stages, "inner": name}
        made = VectorQuantizer(dim=8, codebook_size=256, quantizer=choice).eval()
        errors.append(made(z).metrics["quantization_error"].item())
    assert all(after < 0.6 * before for before, after in pairwise(errors)), errors


# -- the entropy term -------------------------------------------------------


def all_codes(d):
    """Every row of d bits as -1 or 1, (2^d, d)."""
    return (torch.arange(2**d).unsqueeze(1) // 2 ** torch.arange(d) % 2 * 2 - 1).double()


def entropies(logits):
    """mean_n H(p_n) and H(mean_n p_n) in nats, by the probabilities of all 2^d codes."""
    p = torch.softmax(logits @ all_codes(logits.shape[1]).T / 2, 1)
    mean = p.mean(0)
    return -(p * p.log()).sum(1).mean(), -(mean * mean.log()).sum()


@pytest.mark.parametrize("d", [1, 2, 5, 6])
def test_the_term_is_that_over_all_codes(d):
    logits = normal(30, d)
    mask = torch.ones(30, dtype=torch.bool)
    certainty, spread = entropies(logits)
    torch.testing.assert_close(
        bit_entropy(logits, mask, 0.7, 8), certainty + 0.7 * (d * LOG2 - spread)
    )


@pytest.mark.parametrize("name", ["lfq", "bsq"])
def test_probabilities_are_a_softmax_of_squared_distances_in_units_of_a_codes_coordinate(name):
    layer = build(name, temperature=0.5, entropy_weight=1.0, commitment_weight=0.0)
    z = layer.tangent(normal(30, 4))
    codes = layer.decode(torch.arange(16)).double()
    p = torch.softmax(-torch.cdist(z, codes).square() / (0.5 * layer.magnitude**2), 1)
    expected = -(p * p.log()).sum(1).mean() + 4 * LOG2 + (p.mean(0) * p.mean(0).log()).sum()
    torch.testing.assert_close(layer(z).losses["bit_entropy"], expected, rtol=1e-6, atol=1e-6)


def test_certain_tokens_that_use_all_codes_alike_give_zero():
    mask = torch.ones(16, dtype=torch.bool)
    assert bit_entropy(50 * all_codes(4), mask, 1.0, 8).item() == pytest.approx(0, abs=1e-12)


def test_collapse_and_uncertainty_cost_their_maximum():
    mask = torch.ones(16, dtype=torch.bool)
    assert bit_entropy(torch.full((16, 4), 50.0), mask, 0.3, 8).item() == pytest.approx(
        0.3 * 4 * LOG2
    )
    assert bit_entropy(torch.zeros(16, 4), mask, 0.3, 8).item() == pytest.approx(4 * LOG2)


def test_a_group_sees_bits_that_go_together_and_single_bits_do_not():
    pair = torch.tensor([[50.0, 50.0], [-50.0, -50.0]])  # each bit is even, the two are one
    mask = torch.ones(2, dtype=torch.bool)
    assert bit_entropy(pair, mask, 1.0, 2).item() == pytest.approx(LOG2)
    assert bit_entropy(pair, mask, 1.0, 1).item() == pytest.approx(0, abs=1e-6)


def test_groups_are_as_equal_as_they_can_be():
    logits, mask = normal(30, 10), torch.ones(30, dtype=torch.bool)
    (bits, logs), weight = bit_probabilities(logits), torch.full((30,), 1 / 30, dtype=torch.float64)
    halves = usage_entropy(bits[:5], weight) + usage_entropy(bits[5:], weight)
    expected = -(bits * logs).sum() / 30 + 10 * LOG2 - halves
    torch.testing.assert_close(bit_entropy(logits, mask, 1.0, 8), expected)


def test_the_entropy_of_a_bit_keeps_its_digits_in_the_tails():
    logits = torch.tensor([0.0, 5.0, -5.0, 40.0, -40.0, 80.0], requires_grad=True)
    wide = logits.detach().double()
    p, q = torch.sigmoid(wide), torch.sigmoid(-wide)
    expected = -p * F.logsigmoid(wide) - q * F.logsigmoid(-wide)
    bits, logs = bit_probabilities(logits.unsqueeze(1))
    entropy = -(bits * logs).sum(1).squeeze(0)
    torch.testing.assert_close(entropy, expected.float(), rtol=1e-5, atol=0)
    entropy.sum().backward()
    torch.testing.assert_close(logits.grad, (-wide * p * q).float(), rtol=1e-4, atol=1e-30)


def test_masked_tokens_have_no_effect_on_the_term():
    logits = normal(30, 6).requires_grad_()
    mask = torch.arange(30) % 3 > 0
    wild = torch.where(mask.unsqueeze(1), logits, 1e4)
    term, trimmed = bit_entropy(wild, mask, 1.0, 4), bit_entropy(logits[mask], mask[mask], 1.0, 4)
    torch.testing.assert_close(term, trimmed)
    term.backward()
    assert logits.grad[~mask].abs().max() == 0
    assert bit_entropy(logits, torch.zeros(30, dtype=torch.bool), 1.0, 4).item() == 0
    assert bit_entropy(logits[:0], mask[:0], 1.0, 4).item() == 0


def test_its_gradient_is_right():
    mask = torch.arange(12) % 4 > 0
    assert torch.autograd.gradcheck(
        lambda x: bit_entropy(x, mask, 0.8, 3), normal(12, 7).requires_grad_()
    )


def test_training_on_the_term_alone_spreads_the_codes():
    torch.manual_seed(0)
    choice = {"name": "lfq", "commitment_weight": 0, "diversity_weight": 2}
    made = VectorQuantizer(dim=4, codebook_size=16, quantizer=choice)
    z = (0.1 * torch.randn(256, 4) + 0.2).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.02)
    before = made(z).metrics["perplexity"].item()
    for _ in range(60):
        optimizer.zero_grad()
        made(z).loss.backward()
        optimizer.step()
        made.update()
    assert before < 2
    assert made(z).metrics["perplexity"].item() > 14


def test_a_weight_of_zero_leaves_a_loss_out():
    z = torch.randn(5, 4)
    assert set(build(entropy_weight=0).forward(z).losses) == {"commitment"}
    assert build(entropy_weight=0, commitment_weight=0).forward(z).losses == {}
    assert set(build("bsq", commitment_weight=1).forward(z).losses) == {"commitment", "bit_entropy"}
