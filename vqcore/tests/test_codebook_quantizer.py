"""Tables of codes by hand: losses, start, dead codes. For all quantizers: test_conformance.py."""

import copy

import pytest
import torch

from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
EUCLIDEAN = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))


def build(name="codebook", dim=2, codebook_size=4, **options):
    chosen = REGISTRY.resolve("quantizer", {"name": name, **options})
    torch.manual_seed(0)
    return REGISTRY.build(chosen, dim=dim, codebook_size=codebook_size, manifold=EUCLIDEAN)


def with_codes(codes, **options):
    codes = torch.tensor(codes)
    made = build(
        dim=codes.shape[1], codebook_size=len(codes), **{"dead_code_threshold": 0, **options}
    )
    made.set_points(torch.ones(len(codes), dtype=torch.bool), codes)
    made.started = True
    return made


def test_losses_by_hand():
    weights = {"commitment_weight": 0.5, "codebook_weight": 2.0}
    layer = with_codes([[0.0, 0.0], [4.0, 4.0]], lr_scale=1, **weights)
    z = torch.tensor([[1.0, 0.0], [3.0, 4.0]], requires_grad=True)
    out = layer(z)
    assert out.indices.tolist() == [0, 1]
    # each token is at squared distance 1 from its code, D = 2: the mean squared error is 1/2
    assert out.losses["commitment"].item() == pytest.approx(0.5 * 0.5)
    assert out.losses["codebook"].item() == pytest.approx(2.0 * 0.5)
    sum(out.losses.values()).backward()
    # d/dz of 0.5 |z - e|^2 / 4 and d/de of 2 |z - e|^2 / 4
    torch.testing.assert_close(z.grad, 0.5 * 2 * (z.detach() - layer.weight.detach()) / 4)
    torch.testing.assert_close(
        layer.weight.grad, 2.0 * 2 * (layer.weight.detach() - z.detach()) / 4
    )


@pytest.mark.parametrize("quantizer", ["codebook", "ema", "simvq"])
@pytest.mark.parametrize("manifold", ["euclidean", "poincare"])
def test_inverse_similarity_bounds_the_losses_and_chooses_the_same_codes(quantizer, manifold):
    space, z = REGISTRY.build(REGISTRY.resolve("manifold", manifold)), 3 * torch.randn(64, 2)
    found = {}
    for name in ("distance", "inverse"):
        chosen = REGISTRY.resolve("quantizer", {"name": quantizer, "similarity": name})
        torch.manual_seed(0)
        layer = REGISTRY.build(chosen, dim=2, codebook_size=4, manifold=space)
        latents = z.clone().requires_grad_()
        found[name] = layer(layer.tangent(latents))
        sum(found[name].losses.values()).backward()
        assert torch.isfinite(latents.grad).all()
    plain, bounded = found["distance"], found["inverse"]
    assert torch.equal(plain.indices, bounded.indices)
    (one,) = plain.assignments
    squared = space.squared_dist(space.expmap0(one.z), space.expmap0(one.z_q)) / 2
    expected = 0.25 * (1 - 1 / (1 + squared)).mean()
    torch.testing.assert_close(bounded.losses["commitment"], expected)
    assert bounded.losses["commitment"] < plain.losses["commitment"]


def test_masked_tokens_have_no_effect():
    layer = with_codes([[0.0, 0.0], [4.0, 4.0]])
    z = torch.tensor([[1.0, 0.0], [3.0, 4.0], [100.0, 0.0]])
    masked = layer(z, torch.tensor([True, True, False]))
    trimmed = with_codes([[0.0, 0.0], [4.0, 4.0]])(z[:2])
    assert masked.indices.tolist() == [0, 1, -1]
    assert masked.z_q[2].tolist() == [0.0, 0.0]
    assert masked.assignments[0].counts.tolist() == [1, 1]
    for name, value in trimmed.losses.items():
        torch.testing.assert_close(masked.losses[name], value)


def test_no_token_left_gives_a_loss_of_zero():
    layer = with_codes([[0.0, 0.0], [4.0, 4.0]])
    for z, mask in (
        (torch.randn(3, 2), torch.zeros(3, dtype=torch.bool)),
        (torch.empty(0, 2), None),
    ):
        out = layer(z.requires_grad_(), mask)
        total = sum(out.losses.values())
        total.backward()
        assert total.item() == 0
        assert torch.isfinite(z.grad).all()
        layer.update()
        assert torch.isfinite(layer.codebook).all()


def test_data_starts_codes_on_latents_and_only_once():
    layer = build(init="data", dead_code_threshold=0)
    z = torch.randn(50, 2) + 7
    layer(z)
    start = layer.codebook.detach().clone()
    assert all(any(torch.equal(code, row) for row in z) for code in start)
    layer(z + 100)
    assert torch.equal(layer.codebook, start)


@pytest.mark.parametrize("name", ["codebook", "ema"])
def test_codes_wait_for_the_first_batch_that_has_tokens(name):
    layer = build(name, codebook_size=8, dead_code_threshold=0)
    layer(torch.randn(20, 2), torch.zeros(20, dtype=torch.bool))
    layer.update()
    assert not layer.started
    z = torch.randn(20, 2)
    layer(z)
    assert layer.started
    assert len(layer.codebook.detach().unique(dim=0)) == 8  # drawn without repeats


def test_steps_without_tokens_do_not_change_the_codes():
    layer = with_codes([[0.0, 0.0], [50.0, 50.0]], usage_decay=0.5)
    before = layer.usage.clone()
    for _ in range(5):
        layer(torch.randn(40, 2), torch.zeros(40, dtype=torch.bool))
        layer.update()
    assert torch.equal(layer.usage, before)


def test_dead_codes_are_replaced_every_tenth_step():
    layer = build(codebook_size=3, init="normal", dead_code_threshold=0.5, usage_decay=0.0)
    z = torch.randn(40, 2)
    looked = []
    for step in range(11):
        far = torch.tensor([[0.0, 0.0], [50.0, 50.0], [60.0, 60.0]])
        layer.set_points(torch.ones(3, dtype=torch.bool), far)
        layer(z)
        layer.update()
        looked += [step] if layer.codebook.norm(dim=1).max() < 10 else []
    assert looked == [0, 10]


def test_kmeans_finds_clusters():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    z = centres.repeat(50, 1) + 0.01 * torch.randn(200, 2)
    layer = build(init="kmeans", dim=2, codebook_size=16, dead_code_threshold=0)
    out = layer(z)
    assert (z - out.z_q).norm(dim=1).max() < 0.2


def test_kmeans_with_fewer_latents_than_codes_gives_distinct_codes():
    layer = build(init="kmeans", codebook_size=16, dead_code_threshold=0)
    z = 5 * torch.randn(5, 2)
    out = layer(z)
    assert (z - out.z_q).norm(dim=1).max() < 0.2
    assert len(layer.codebook.detach().unique(dim=0)) == 16
    assert torch.cdist(layer.codebook.detach(), z).amin(1).max() < 0.5


def test_eval_neither_starts_codes_nor_gathers():
    layer = build(init="data").eval()
    before = copy.deepcopy(layer.state_dict())
    layer(torch.randn(50, 2))
    layer.update()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_dead_codes_move_to_latents_and_their_moments_are_cleared():
    layer = with_codes(
        [[0.0, 0.0], [50.0, 50.0], [60.0, 60.0]], dead_code_threshold=0.5, usage_decay=0.0
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    z = torch.randn(40, 2)
    out = layer(z)
    sum(out.losses.values()).backward()
    layer.weight.grad += 1  # so that every row has moments
    optimizer.step()
    layer.update(optimizer)
    assert layer.codebook.norm(dim=1).max() < 10
    moments = optimizer.state[layer.weight]["exp_avg"]
    assert moments[0].abs().min() > 0
    assert moments[1:].abs().max() == 0
    assert layer.usage.tolist() == [3.0, 1.0, 1.0]
    assert layer.replaced_codes() == 2


def test_a_threshold_of_zero_never_replaces():
    layer = with_codes([[0.0, 0.0], [50.0, 50.0]], usage_decay=0.0)
    for _ in range(3):
        layer(torch.randn(40, 2))
        layer.update()
    assert layer.codebook[1].tolist() == [50.0, 50.0]


def test_usage_is_a_running_share_of_equal_usage():
    layer = with_codes([[0.0, 0.0], [50.0, 50.0]], usage_decay=0.5)
    layer(torch.randn(40, 2))
    layer.update()
    assert layer.usage.tolist() == [1.5, 0.5]
