"""Groups and stages: index layout, shared codebooks, losses, gradients."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import SettingError
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def build(name, dim=8, codebook_size=16, **options):
    torch.manual_seed(0)
    space = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
    chosen = REGISTRY.resolve("quantizer", {"name": name, **options})
    layer = REGISTRY.build(chosen, dim=dim, codebook_size=codebook_size, manifold=space)
    layer(torch.randn(64, dim))
    return layer


def test_each_group_is_quantized_separately():
    layer = build("grouped", groups=4)
    z = torch.randn(10, 8)
    out = layer(z)
    assert out.indices.shape == (10, 4)
    assert layer.codebook.shape == (4, 16, 2)
    assert len(out.assignments) == 4
    for g in range(4):
        part = z[:, 2 * g : 2 * g + 2]
        nearest = torch.cdist(part, layer.codebook[g]).argmin(1)
        assert torch.equal(out.indices[:, g], nearest)
        torch.testing.assert_close(out.z_q[:, 2 * g : 2 * g + 2], layer.codebook[g][nearest])


def test_a_shared_codebook_serves_all_groups():
    layer = build("grouped", groups=4, shared=True)
    z = torch.randn(10, 8)
    out = layer(z)
    assert layer.codebook.shape == (16, 2)
    assert len(out.assignments) == 1
    nearest = torch.cdist(z.reshape(40, 2), layer.codebook).argmin(1)
    assert torch.equal(out.indices, nearest.view(10, 4))
    mask = torch.arange(10) < 6
    assert (layer(z, mask).indices == -1).all(1).tolist() == (~mask).tolist()


@pytest.mark.parametrize("shared", [False, True])
def test_losses_are_the_mean_squared_error_over_all_dimensions(shared):
    layer = build(
        "grouped", groups=2, shared=shared, inner={"name": "codebook", "commitment_weight": 1.0}
    )
    z = torch.randn(10, 8)
    out = layer(z)
    torch.testing.assert_close(out.losses["commitment"], (z - out.z_q).square().mean())


def test_groups_must_divide_the_dimension():
    with pytest.raises(
        SettingError,
        match=r"quantizer.groups = 3: expected a divisor of dim = 8; choose one of 1, 2, 4, 8",
    ):
        build("grouped", groups=3)


def test_stages_quantize_the_residual():
    layer = build("residual", stages=3)
    z = torch.randn(10, 8)
    out = layer(z)
    residual = z
    for q in range(3):
        nearest = torch.cdist(residual, layer.codebook[q]).argmin(1)
        assert torch.equal(out.indices[:, q], nearest)
        residual = residual - layer.codebook[q][nearest]
    torch.testing.assert_close(out.z_q, z - residual)
    assert layer.codebook.shape == (3, 16, 8)


def test_stages_of_a_trained_residual_quantizer_each_lower_the_error():
    torch.manual_seed(0)
    layer = build("residual", stages=4, inner="ema", codebook_size=32)
    z = torch.randn(2000, 8)
    for _ in range(30):
        layer(z)
        layer.update()
    residual, errors = z, []
    for assignment in layer.eval()(z).assignments:
        residual = residual - assignment.z_q
        errors.append(residual.square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_the_straight_through_gradient_is_one_whatever_the_number_of_stages(stages):
    layer = VectorQuantizer(
        dim=4, codebook_size=8, quantizer={"name": "residual", "stages": stages}
    )
    z = torch.randn(20, 4, requires_grad=True)
    layer(z).quantized.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


@pytest.mark.parametrize("name", ["grouped", "residual"])
def test_inner_quantizers_draw_different_codes(name):
    codebooks = build(name, inner={"name": "codebook", "init": "normal"}).codebook
    assert not torch.equal(codebooks[0], codebooks[1])


def test_update_reaches_every_inner_quantizer():
    layer = build("grouped", inner={"name": "residual", "inner": "ema"})
    before = layer.inner[1].inner[2].codebook.clone()
    layer(torch.randn(200, 8))
    layer.update()
    assert not torch.equal(layer.inner[1].inner[2].codebook, before)


def test_nested_indices_have_the_group_before_the_stage():
    layer = build(
        "grouped", groups=2, inner={"name": "residual", "stages": 3, "inner": "ema"}
    ).eval()
    z = torch.randn(5, 7, 8)
    out = layer(z)
    assert layer.index_shape == (2, 3)
    assert out.indices.shape == (5, 7, 2, 3)
    assert torch.equal(layer.decode(out.indices), out.z_q)


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
def test_residuals_on_the_manifold_recompose_in_float64(manifold):
    """If the last stage leaves a residual of zero, the nested sum is the latent."""
    torch.manual_seed(0)
    options = {
        "name": "residual",
        "stages": 4,
        "residuals": "manifold",
        "inner": {"name": "codebook", "init": "normal"},
    }
    layer = VectorQuantizer(dim=3, codebook_size=8, manifold=manifold, quantizer=options)
    layer = layer.double().eval()
    z = torch.randn(1, 3, dtype=torch.float64)
    quantizer, u = layer.quantizer, layer.quantizer.tangent(z)
    residual = u
    for stage in quantizer.inner[:3]:
        residual = quantizer._subtract(residual, stage(residual).z_q)
    last = quantizer.inner[3]
    last.set_points(torch.ones(8, dtype=torch.bool), layer.manifold.expmap0(residual.expand(8, 3)))
    torch.testing.assert_close(quantizer(u).z_q, u, rtol=0, atol=1e-12)
    in_tangent_space = sum(assignment.z_q for assignment in quantizer(u).assignments)
    wrong = u - in_tangent_space
    assert wrong.abs().max() > 1e-6 or manifold in ("euclidean", "product")  # its sphere is a line


def test_residuals_on_flat_space_are_the_same_both_ways():
    torch.manual_seed(0)
    tangent = build("residual", stages=3)
    moved = build("residual", stages=3, residuals="manifold")
    moved.load_state_dict(tangent.state_dict())
    z = torch.randn(20, 8)
    assert torch.equal(moved.eval()(z).indices, tangent.eval()(z).indices)
    torch.testing.assert_close(moved(z).z_q, tangent(z).z_q)


def test_a_shared_codebook_serves_all_stages_and_learns_from_each():
    layer = build(
        "residual",
        stages=3,
        shared=True,
        inner={"name": "ema", "decay": 0.0, "dead_code_threshold": 0},
    )
    layer.update()
    out = layer(torch.randn(50, 8))
    assert layer.codebook.shape == (16, 8)
    assert len(out.assignments) == 3
    before = layer.codebook.clone()
    layer.update()
    tokens = torch.cat([assignment.z for assignment in out.assignments])
    codes = torch.cat([assignment.indices for assignment in out.assignments])
    for k in codes.unique():  # with decay 0 a code is the mean of its tokens over all stages
        torch.testing.assert_close(
            layer.codebook[k], tokens[codes == k].mean(0), rtol=1e-3, atol=1e-4
        )
    assert not torch.equal(layer.codebook, before)


def test_stage_dropout_uses_the_first_stages_and_marks_the_others():
    layer = build(
        "residual",
        stages=4,
        stage_dropout=0.5,
        inner={"name": "codebook", "commitment_weight": 1.0},
    )
    numbers = []
    for _ in range(60):
        out = layer(torch.randn(20, 8))
        present = (out.indices >= 0).all(0)
        number = int(present.sum())
        assert present.tolist() == [True] * number + [False] * (4 - number)
        assert torch.equal(layer.decode(out.indices), out.z_q)
        numbers.append(number)
        layer.update()
    assert 0.3 < sum(number < 4 for number in numbers) / 60 < 0.7
    assert set(numbers) == {1, 2, 3, 4}
    assert (layer.eval()(torch.randn(20, 8)).indices >= 0).all()


def test_decoding_fewer_stages_sums_those():
    layer = build("residual", stages=3)
    out = layer(torch.randn(20, 8))
    fewer = out.indices.clone()
    fewer[:, 1:] = -1
    assert torch.equal(layer.decode(fewer), out.assignments[0].z_q)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "grouped", "groups": 2, "inner": {"name": "residual", "stages": 3}},
        {
            "name": "grouped",
            "groups": 2,
            "shared": True,
            "inner": {"name": "residual", "stages": 3, "shared": True},
        },
        {
            "name": "residual",
            "stages": 3,
            "inner": {"name": "grouped", "groups": 2, "shared": True},
        },
        {
            "name": "residual",
            "stages": 2,
            "residuals": "manifold",
            "inner": {"name": "grouped", "groups": 4},
        },
        {
            "name": "residual",
            "stages": 2,
            "inner": {"name": "grouped", "groups": 2, "inner": "fsq"},
        },
        {
            "name": "grouped",
            "inner": {
                "name": "residual",
                "inner": {"name": "residual", "stages": 2, "inner": "lfq"},
            },
        },
    ],
)
def test_join_of_the_assignments_is_z_q(options):
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=8, codebook_size=8, quantizer=options, manifold="poincare"
    ).quantizer
    z = 0.3 * torch.randn(5, 7, layer.dim)
    out = layer(z)
    parts = iter([assignment.z_q for assignment in out.assignments])
    torch.testing.assert_close(layer.join(parts, (5, 7)), out.z_q)
    looked_up = layer.lookup(out.indices)
    assert looked_up.shape == (*out.indices.shape, looked_up.shape[-1])


@pytest.mark.parametrize("shared", [False, True])
def test_each_group_is_scaled_as_its_own_factor(shared):
    layer = VectorQuantizer(
        dim=8,
        codebook_size=8,
        manifold="poincare",
        quantizer={"name": "grouped", "groups": 2, "shared": shared},
    )
    z = 50 * torch.randn(20, 8)
    u = layer.quantizer.tangent(z)
    for half, given in ((u[:, :4], z[:, :4]), (u[:, 4:], z[:, 4:])):
        torch.testing.assert_close(half, layer.manifold.tangent(given))
        torch.testing.assert_close(half.norm(dim=1), torch.full((20,), 2.0))
