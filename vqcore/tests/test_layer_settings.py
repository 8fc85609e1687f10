"""What the layer adds to a quantizer: projections, lookup, lengths, gradients to the codes."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import SettingError


def layer(**options):
    torch.manual_seed(0)
    return VectorQuantizer(**{"dim": 8, "codebook_size": 16, **options})


def test_code_dim_projects_into_and_out_of_another_dimension():
    made = layer(code_dim=3, channel_first=True)
    z = torch.randn(4, 8, 5, 5, requires_grad=True)
    out = made(z)
    assert made.codebook.shape == (16, 3)
    assert out.quantized.shape == z.shape
    (out.quantized.square().sum() + out.loss).backward()
    for parameter in (z, made.project_in.weight, made.project_out.weight, made.project_out.bias):
        assert parameter.grad.abs().max() > 0
    made.eval()
    out = made(z)
    assert torch.equal(made.decode(made.encode(z)), out.quantized)
    assert made.lookup(out.indices).shape == (4, 5, 5, 3)
    assert (
        made.decode(torch.full((2, 5, 5), -1)).abs().max() == 0
    )  # not the bias of the projection out


def test_masked_positions_are_zero_after_the_projection_too():
    made = layer(code_dim=3)
    mask = torch.arange(6) < 4
    out = made(torch.randn(6, 8), mask=mask)
    assert out.quantized[4:].abs().max() == 0
    assert out.quantized[:4].abs().min(1).values.max() > 0


@pytest.mark.parametrize("shape", [(3, 6, 8), (3, 6, 2, 8)])
def test_lengths_are_masks_of_the_first_positions(shape):
    made = layer().eval()
    z, lengths = torch.randn(shape), torch.tensor([6, 2, 0])
    mask = (
        (torch.arange(6) < lengths.unsqueeze(1))
        .view(3, 6, *(1 for _ in shape[2:-1]))
        .expand(shape[:-1])
    )
    by_lengths, by_mask = made(z, lengths=lengths), made(z, mask=mask)
    assert torch.equal(by_lengths.indices, by_mask.indices)
    assert torch.equal(by_lengths.loss, by_mask.loss)
    moved = layer(channel_first=True).eval()
    moved.load_state_dict(made.state_dict())
    assert torch.equal(moved(z.movedim(-1, 1), lengths=lengths).indices, by_mask.indices)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"mask": torch.ones(3, 5, dtype=torch.bool)},
            r"mask = 'torch.bool \(3, 5\)': expected torch.bool \(3, 6\)",
        ),
        (
            {"mask": torch.ones(3, 6)},
            r"mask = 'torch.float32 \(3, 6\)': expected torch.bool \(3, 6\)",
        ),
        (
            {"lengths": torch.tensor([1, 2])},
            r"lengths = \(2,\): expected one length for each of 3 samples",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(SettingError, match=message):
        layer()(torch.randn(3, 6, 8), **arguments)


def test_synchronized_passes_the_decoders_gradient_to_the_codes():
    plain, both = (layer(quantizer={"name": "codebook", "synchronized": nu}) for nu in (0.0, 0.25))
    z = torch.randn(10, 8)
    assert not plain(z).quantized.requires_grad
    both(z).quantized.sum().backward()
    counts = both.eval()(z).counts[0]
    torch.testing.assert_close(
        both.quantizer.weight.grad, 0.25 * counts.unsqueeze(1).expand(16, 8).float()
    )
    assert torch.equal(both(z).quantized, both.decode(both.encode(z)))


def test_an_affine_codebook_moves_all_codes_together():
    made = layer(quantizer={"name": "codebook", "affine_lr": 2.0, "dead_code_threshold": 0})
    z = torch.randn(64, 8) + 5
    made(z)
    made.update()
    before = made.codebook.detach().clone()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    out = made(z[:1] + 3)  # one token, one code
    optimizer.zero_grad()
    out.loss.backward()
    optimizer.step()
    moved = (made.codebook.detach() - before).norm(dim=1)
    assert (moved > 0).all()
    made.quantizer.set_points(torch.arange(16) < 3, torch.full((16, 8), 9.0))
    torch.testing.assert_close(made.codebook[:3].detach(), torch.full((3, 8), 9.0))


def test_least_recently_used_codes_are_replaced_after_their_patience():
    quantizer = {
        "name": "ema",
        "dead_codes": "least-recently-used",
        "dead_code_patience": 15,
        "dead_code_threshold": 0,
    }
    made = layer(dim=2, codebook_size=3, quantizer=quantizer)
    made.quantizer.set_points(
        torch.ones(3, dtype=torch.bool), torch.tensor([[0.0, 0.0], [50.0, 50.0], [60.0, 60.0]])
    )
    made.quantizer.started = True
    replaced = []
    for _ in range(31):
        made(torch.randn(30, 2))
        made.update()
        replaced.append(int(made.quantizer.replaced_codes()))
    # found by the check after 15 idle steps; the code of the origin was in use all the time
    assert replaced == [0] * 20 + [2] * 11
    assert made.codebook.norm(dim=1).max() < 10


TABLES = [
    "codebook",
    "ema",
    "simvq",
    {"name": "codebook", "affine_lr": 1.0},
    {"name": "residual", "shared": True, "stages": 3},
    {"name": "residual", "shared": True, "inner": "simvq"},
    {"name": "grouped", "inner": {"name": "residual", "shared": True, "inner": "ema"}},
]


@pytest.mark.parametrize("quantizer", TABLES, ids=str)
@pytest.mark.parametrize(
    "manifold", ["euclidean", {"name": "poincare", "learn_curvature": True}, "sphere"], ids=str
)
def test_several_forwards_of_the_first_step_share_a_backward(quantizer, manifold):
    made = layer(quantizer=quantizer, manifold=manifold)
    z = torch.randn(2, 32, 8, requires_grad=True)
    first, second = made(z[0]), made(z[1])
    (first.loss + second.loss + first.quantized.sum() + second.quantized.sum()).backward()
    assert torch.isfinite(z.grad).all()
    made.update()


def test_residuals_of_groups_on_a_manifold_shrink_with_each_stage():
    inner = {"name": "grouped", "groups": 4, "inner": {"name": "codebook", "init": "kmeans"}}
    quantizer = {"name": "residual", "stages": 6, "residuals": "manifold", "inner": inner}
    made = layer(dim=16, codebook_size=64, manifold="poincare", quantizer=quantizer)
    z = 2 * torch.randn(256, 16)
    made(z)
    rest = made.quantizer.tangent(z)
    left = []
    for stage in range(6):
        step = made.quantizer.inner[stage].eval()(rest).z_q
        rest = made.quantizer._subtract(rest, step)
        left.append(rest.square().mean().item())
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.2 * left[0]


def test_the_layer_takes_the_codebook_size_of_its_quantizer():
    assert layer(dim=3, quantizer={"name": "fsq", "levels": [8, 8, 8]}).codebook_size == 512
    with pytest.raises(
        SettingError, match="code_dim = 64: expected 4, which this quantizer works on; leave it out"
    ):
        layer(quantizer="lfq", code_dim=64)


def test_decoding_ignores_autocast_and_takes_small_integers():
    made = layer(code_dim=3, quantizer="simvq").eval()
    z = torch.randn(20, 8)
    out = made(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made.decode(out.indices), out.quantized)
    assert torch.equal(made.decode(out.indices.to(torch.uint8)), out.quantized)


def test_loading_a_state_drops_gathered_statistics():
    made = layer(quantizer={"name": "ema", "dead_code_threshold": 0})
    z = torch.randn(64, 8)
    made(z)
    made.update()
    state = {name: value.clone() for name, value in made.state_dict().items()}
    made(z + 1000)
    made.load_state_dict(state)
    made(z)
    made.update()
    twin = layer(quantizer={"name": "ema", "dead_code_threshold": 0})
    twin.load_state_dict(state)
    twin(z)
    twin.update()
    assert torch.equal(made.codebook, twin.codebook)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_layer_of_another_precision_takes_regularizers_and_any_input(dtype):
    made = layer(regularizers=["entropy"], estimator="gumbel").to(dtype)
    for kind in (dtype, torch.float32, torch.float64):
        assert torch.isfinite(made(torch.randn(32, 8).to(kind)).loss)


def test_half_precision_codes_are_searched_in_full():
    made = layer(
        codebook_size=64, manifold="poincare", quantizer={"name": "codebook", "init": "data"}
    )
    z = 0.01 * torch.randn(500, 8) + 1
    made(z)
    made.update()
    made = made.to(torch.bfloat16).eval()
    x = made.manifold.expmap0(made.manifold.tangent(z)).double()
    codes = made.manifold.expmap0(made.quantizer.stored().double())
    best = made.manifold.pairwise_squared_dist(x, codes).argmin(1)
    assert (made.encode(z) == best).float().mean() > 0.97


def test_inspecting_keeps_the_mode_of_each_module():
    made = layer()
    made.quantizer.eval()
    made.inspect(torch.randn(10, 8))
    assert made.training
    assert not made.quantizer.training


def test_the_text_of_a_layer_says_its_sizes():
    space = {"name": "product", "factors": ["poincare:4", "sphere:8"]}
    text = repr(VectorQuantizer(dim=12, codebook_size=16, manifold=space, channel_first=True))
    assert "VectorQuantizer(\n  dim=12, codebook_size=16, channel_first=True" in text
    assert "GradientCodebook(\n    dim=12, codebook_size=16" in text
    assert "Product(\n    dims=(4, 8)" in text
