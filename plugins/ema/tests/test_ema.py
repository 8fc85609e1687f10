"""The EMA codebook: one step by hand, every manifold, unused and replaced codes."""

import pytest
import torch

from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def build(manifold="euclidean", dim=2, codebook_size=2, **options):
    options = {"init": "normal", "dead_code_threshold": 0, **options}
    space = REGISTRY.build(REGISTRY.resolve("manifold", manifold))
    chosen = REGISTRY.resolve("quantizer", {"name": "ema", **options})
    return REGISTRY.build(chosen, dim=dim, codebook_size=codebook_size, manifold=space)


def with_codes(codes, **options):
    codes = torch.tensor(codes)
    layer = build(dim=codes.shape[1], codebook_size=len(codes), **options)
    layer.set_points(torch.ones(len(codes), dtype=torch.bool), layer.manifold.expmap0(codes))
    layer.started = True
    return layer


def test_one_step_by_hand():
    layer = with_codes([[0.0, 0.0], [10.0, 10.0]], decay=0.5, epsilon=1e-12)
    layer(torch.tensor([[1.0, 1.0], [3.0, 1.0], [9.0, 9.0]]))
    layer.update()
    # N = (1.5, 1), m = (0 + 4/2, 0 + 2/2) and (10/2 + 9/2) twice
    torch.testing.assert_close(layer.counts, torch.tensor([1.5, 1.0]))
    torch.testing.assert_close(layer.codebook, torch.tensor([[4 / 3, 2 / 3], [9.5, 9.5]]))


def test_smoothing_keeps_the_total_and_an_unused_code_in_place():
    layer = with_codes([[0.0, 0.0], [10.0, 10.0]], decay=0.9)
    for _ in range(200):
        layer(torch.randn(20, 2))
        layer.update()
    assert layer.codebook[1].tolist() == [10.0, 10.0]
    assert layer.counts[0] == pytest.approx(20, rel=1e-3)


def test_two_forwards_before_an_update_are_one_step_of_both():
    a, b = (with_codes([[0.0, 0.0], [10.0, 10.0]]) for _ in range(2))
    z = torch.randn(40, 2)
    a(z)
    a.update()
    b(z[:15])
    b(z[15:])
    b.update()
    torch.testing.assert_close(a.codebook, b.codebook)


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
def test_codes_settle_on_the_centroids_of_their_tokens(manifold):
    torch.manual_seed(0)
    layer = with_codes([[0.6, 0.0], [-0.6, 0.0]], manifold=manifold, decay=0.5)
    z = torch.cat([0.2 * torch.randn(50, 2) + torch.tensor([s, 0.0]) for s in (0.7, -0.7)])
    for _ in range(40):
        out = layer(z)
        layer.update()
    space = layer.manifold
    assert space.check_points(layer.codebook) is None
    for k in range(2):
        members = space.to_ambient(space.expmap0(z[out.indices == k]))
        centroid = space.from_ambient(members.mean(0, keepdim=True))
        assert space.dist(layer.codebook[k : k + 1], centroid).item() < 1e-3


def test_codes_are_buffers_and_commitment_is_the_only_loss():
    layer = with_codes([[0.0, 0.0], [10.0, 10.0]])
    z = torch.randn(20, 2, requires_grad=True)
    losses = layer(z).losses
    assert set(losses) == {"commitment"}
    losses["commitment"].backward()
    assert not list(layer.parameters())
    assert z.grad.abs().max() > 0


def test_the_statistics_of_a_replaced_code_are_reset():
    layer = with_codes([[0.0, 0.0], [99.0, 99.0]], dead_code_threshold=0.5, usage_decay=0.0)
    layer(torch.randn(40, 2))
    layer.update()
    assert layer.counts[1] == 1
    torch.testing.assert_close(layer.sums[1], layer.codebook[1])
    moved = layer.codebook[1].clone()
    layer.dead_code_threshold = 0
    layer(layer.codebook[:1].repeat(5, 1))
    layer.update()
    # the next step does not undo it
    torch.testing.assert_close(layer.codebook[1], moved, rtol=1e-3, atol=1e-3)
