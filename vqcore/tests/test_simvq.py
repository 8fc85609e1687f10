"""SimVQ: a frozen table behind a learned matrix, by hand, and how its rows are set."""

import pytest
import torch

from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MANIFOLDS = REGISTRY.names("manifold")


def build(manifold="euclidean", dim=3, codebook_size=5, **options):
    torch.manual_seed(0)
    space = REGISTRY.build(REGISTRY.resolve("manifold", manifold))
    chosen = REGISTRY.resolve("quantizer", {"name": "simvq", **options})
    return REGISTRY.build(chosen, dim=dim, codebook_size=codebook_size, manifold=space)


def with_matrix(matrix, **options):
    made = build(dim=len(matrix), **{"lr_scale": 1, **options})
    with torch.no_grad():
        made.weight.copy_(torch.as_tensor(matrix))
    made.started = True
    return made


def test_codes_are_the_matrix_times_the_rows():
    layer = with_matrix([[2.0, 1.0], [0.0, 3.0]], codebook_size=2)
    layer.frozen.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert layer.codebook.tolist() == [[2.0, 0.0], [1.0, 3.0]]
    z = torch.tensor([[2.0, 1.0]], requires_grad=True)
    out = layer(z)
    assert out.indices.tolist() == [0]
    assert out.losses["codebook"].item() == pytest.approx(0.5)
    assert out.losses["commitment"].item() == pytest.approx(0.25 * 0.5)
    sum(out.losses.values()).backward()
    # d/dW of |z - W f|^2/2 is (W f - z) f^T
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.0, 0.0], [-1.0, 0.0]]))
    torch.testing.assert_close(z.grad, torch.tensor([[0.0, 0.25]]))
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_step_moves_unused_codes():
    layer = build(dead_code_threshold=0.0, init="data")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    z = torch.randn(50, 3)
    layer(z)
    before, rows = layer.codebook.detach().clone(), layer.frozen.clone()
    one = layer(z[:1] + 0.1)
    sum(one.losses.values()).backward()
    optimizer.step()
    layer.update(optimizer)
    assert torch.equal(layer.frozen, rows)
    assert (layer.codebook - before).norm(dim=1).min() > 0


@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_rows_are_solved_for_so_that_codes_are_the_points_set(manifold):
    matrix = torch.eye(3) + 0.3 * torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    layer = with_matrix(matrix, manifold=manifold, init="data", dead_code_threshold=0.0)
    layer.started = False
    z = layer.tangent(torch.randn(50, 3))
    layer(z)
    found, _ = layer.codes()
    apart = (found.detach().unsqueeze(1) - z).norm(dim=2).amin(1)
    assert apart.max() < 1e-5
    kept = found.detach().clone()
    rows = torch.tensor([True, False, True, False, False])
    wanted = layer.manifold.expmap0(layer.tangent(torch.randn(5, 3)))
    layer.set_points(rows, wanted)
    torch.testing.assert_close(layer.codebook[rows], wanted[rows], rtol=1e-5, atol=1e-5)
    assert torch.equal(layer.codes()[0][~rows], kept[~rows])


def test_a_singular_matrix_gives_the_nearest_codes():
    everywhere = torch.ones(5, dtype=torch.bool)
    for matrix in (torch.diag(torch.tensor([1.0, 2.0, 0.0])), torch.zeros(3, 3)):
        layer = with_matrix(matrix)
        wanted = torch.randn(5, 3)
        layer.set_points(everywhere, wanted)
        torch.testing.assert_close(
            layer.codebook.detach(), wanted * (matrix.diagonal() > 0), rtol=1e-5, atol=1e-5
        )


def test_dead_codes_are_replaced():
    layer = with_matrix(
        torch.diag(torch.tensor([0.5, 2.0, 1.0])), dead_code_threshold=0.5, usage_decay=0.0
    )
    layer.set_points(torch.ones(5, dtype=torch.bool), 40.0 + torch.arange(15.0).view(5, 3))
    z = torch.randn(50, 3)
    layer(z)
    layer.update()
    assert layer.replaced_codes() == 4
    assert (torch.cdist(layer.codebook.detach(), z).amin(1) < 0.1).sum() == 4


def test_the_matrix_learns_the_shape_of_the_latents():
    layer = build(dim=4, codebook_size=64)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    stretch = torch.tensor([[4.0, 0, 0, 0], [3.0, 1, 0, 0], [0, 0, 0.1, 0], [0, 0, 0, 0.1]])
    errors = []
    for _ in range(150):
        z = torch.randn(256, 4) @ stretch.T
        out = layer(z)
        optimizer.zero_grad()
        sum(out.losses.values()).backward()
        optimizer.step()
        layer.update(optimizer)
        errors.append((z - out.z_q).square().mean().item())
    assert sum(errors[-10:]) < 0.5 * sum(errors[:10])
