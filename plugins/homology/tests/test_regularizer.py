"""The regularizer: values by hand, gradients, degenerate clouds, kept state, and imports."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from vq_homology import distance_matrix, pair_search, regularizer, spanning_tree
from vq_homology.homology_config import HomologyConfig
from vq_homology.point_clouds import sample_used_codes
from vq_homology.regularizer import Homology
from vqcore import VectorQuantizer
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry
from vqcore.testing import RegularizerConformance
from vqcore.testing.waits import device, no_waits

REGISTRY = default_registry()
MANIFOLDS = ["euclidean", "sphere", "poincare"]
BOTH = {"points": "codebook", "h1_weight": 1.0, "h1_target": 0.5, "backend": "gudhi"}
ALL = BOTH | {
    "h0_entropy_weight": 1.0,
    "h1_total_weight": 1.0,
    "h1_entropy_weight": 1.0,
    "h1_alive_weight": 1.0,
}


def space(name="euclidean"):
    if name not in REGISTRY.names("manifold"):
        pytest.skip(f"no manifold {name} is installed")
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch(points=None, latents=None, *, step=0, manifold=None, indices=None):
    """A batch with ``points`` as codebook and ``latents`` as tokens; each may be left out."""
    z = draw(8, points.shape[1]) if latents is None else latents
    indices = torch.zeros(len(z), dtype=torch.int64) if indices is None else indices
    return LatentBatch(z, z.detach(), indices, points, manifold or space(), step)


def evaluate(layer, *args, **kwargs):
    return layer(batch(*args, **kwargs))


# -- values -----------------------------------------------------------------

LINE = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
SPREAD = (((0 - 4 / 3) ** 2 + (1 - 4 / 3) ** 2 + (3 - 4 / 3) ** 2) / 3) ** 0.5


def test_h0_by_hand():
    shortfalls = [max(0.0, 1 - death / (2 * SPREAD)) for death in (1, 2)]
    each = Homology(points="codebook", h0_target=2.0)
    assert evaluate(each, LINE).item() == pytest.approx(sum(s**2 for s in shortfalls) / 2)
    mean = Homology(points="codebook", h0_target=2.0, h0_form="mean", h0_weight=3.0)
    assert evaluate(mean, LINE).item() == pytest.approx(3 * (1 - 1.5 / (2 * SPREAD)) ** 2)


def test_deaths_above_the_target_cost_nothing():
    assert evaluate(Homology(points="codebook", h0_target=0.1), LINE).item() == 0


@pytest.mark.parametrize("backend", ["gudhi", "auto"])
def test_h1_by_hand(backend):
    """A square and a distant point: one loop of lifetime sqrt 2 - 1, which is its own median."""
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [9.0, 9.0]])
    layer = Homology(
        points="codebook", h0_weight=0.0, h1_weight=2.0, h1_target=0.5, backend=backend
    )
    count = 1 - torch.exp(torch.tensor(-2.0)).item()  # a life of two widths
    assert evaluate(layer, square).item() == pytest.approx(2 * (count / 5 - 0.5) ** 2)


@pytest.mark.parametrize("points", ["codebook", "latents"])
def test_scaling_and_moving_the_cloud_change_nothing_and_have_no_gradient(points):
    cloud = draw(40, 3, dtype=torch.float64)
    values = []
    for scale in (1.0, 1e-4, 1e4):
        moved = (scale * (cloud + 1)).requires_grad_()
        term = evaluate(Homology(**BOTH | {"points": points}), moved, moved)
        term.backward()
        values.append(term.item())
        assert moved.grad.sum(0).abs().max() < 1e-9 * moved.grad.abs().sum()
    assert values == pytest.approx([values[0]] * 3)
    flat = cloud.clone().requires_grad_()
    evaluate(Homology(points=points), flat, flat).backward()
    assert (flat.grad * flat).sum().abs() < 1e-9 * (flat.grad * flat).abs().sum()


def test_descent_on_the_term_moves_crowded_points_apart():
    points = torch.cat([0.01 * draw(20, 2), draw(20, 2, seed=1)]).requires_grad_()
    layer, optimizer = Homology(points="codebook"), torch.optim.Adam([points], lr=0.02)
    before = evaluate(Homology(points="codebook", h0_form="mean"), points).item()
    for step in range(60):
        optimizer.zero_grad()
        evaluate(layer, points, step=step).backward()
        optimizer.step()
    assert evaluate(Homology(points="codebook", h0_form="mean"), points).item() < 0.9 * before


@pytest.mark.parametrize("tile", [1, 40, 10**6])
def test_distances_do_not_depend_on_the_tile(tile, monkeypatch):
    monkeypatch.setattr(distance_matrix, "TILE_CPU", tile)
    monkeypatch.setattr(distance_matrix, "MIN_ROWS", 1)
    points = draw(11, 3, dtype=torch.float64)
    torch.testing.assert_close(
        distance_matrix.distance_matrix(points, space()), torch.cdist(points, points)
    )


# -- gradients --------------------------------------------------------------


@pytest.mark.parametrize("manifold", MANIFOLDS)
@pytest.mark.parametrize("points", ["codebook", "latents"])
def test_the_gradient_of_the_term_matches_finite_differences(manifold, points):
    u, manifold = 0.4 * draw(12, 3, seed=3, dtype=torch.float64), space(manifold)

    def function(u):
        return evaluate(Homology(points=points), manifold.expmap0(u), u, manifold=manifold)

    assert function(u).item() > 0.01
    assert torch.autograd.gradcheck(function, u.requires_grad_())


def test_only_the_chosen_points_have_a_gradient_and_the_choice_depends_on_the_step():
    points = draw(50, 4).requires_grad_()
    touched = []
    for step in (0, 0, 1):
        points.grad = None
        evaluate(Homology(points="codebook", max_points=10), points, step=step).backward()
        touched.append(points.grad.abs().sum(1).nonzero().squeeze(1).tolist())
    assert [len(rows) for rows in touched] == [10, 10, 10]
    assert touched[0] == touched[1] != touched[2]


@pytest.mark.parametrize(("count", "slots"), [(10, 10), (11, 10), (1000, 7), (3, 3), (0, 0)])
def test_a_draw_has_no_repeats_and_covers_the_whole(count, slots):
    seen = set()
    for step in range(60):
        rows = pair_search.draw(count, slots, step).tolist()
        assert rows == pair_search.draw(torch.tensor(count), slots, step).tolist()
        on_device = pair_search.draw(torch.tensor(count), slots, torch.tensor(step))
        assert rows == on_device.tolist()  # as in a recorded graph
        assert len(rows) == len(set(rows)) == slots
        seen |= set(rows)
    assert seen <= set(range(count))
    if count <= 11:
        assert seen == set(range(count))


# -- clouds -----------------------------------------------------------------


@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_masked_and_non_finite_tokens_are_left_out(manifold):
    manifold = space(manifold)
    good = draw(20, 3, dtype=torch.float64)
    bad = torch.full((2, 3), float("nan"), dtype=torch.float64)
    masked = 100 + draw(3, 3, dtype=torch.float64)
    z = torch.cat([bad, good, masked]).requires_grad_()
    indices = torch.tensor([0] * 22 + [-1] * 3)
    term = evaluate(Homology(), latents=z, indices=indices, manifold=manifold)
    assert term.item() == pytest.approx(
        evaluate(Homology(), latents=good, manifold=manifold).item()
    )
    term.backward()
    assert z.grad[:2].abs().sum() == z.grad[22:].abs().sum() == 0
    by_mask = replace(batch(latents=z, manifold=manifold), mask=indices >= 0)
    assert Homology()(by_mask).item() == pytest.approx(term.item(), rel=1e-12)


def used(codes, indices, z):
    """A batch whose tokens ``z`` took ``codes``."""
    return replace(batch(codes, z, indices=indices), z_q=codes[indices])


CODES, INDICES = draw(5, 2), torch.tensor([3, 1, 1, -1, 4, 3, 0])


def test_an_implicit_codebook_is_the_used_codes_with_gradient_to_the_encoder():
    z = (CODES[INDICES] + 0.1).requires_grad_()
    one = replace(used(CODES, INDICES, z), codebook=None)
    layer = Homology(points="codebook", h0_target=9.0)
    term = layer(one)
    assert term.item() == pytest.approx(evaluate(layer, CODES[[0, 1, 3, 4]]).item(), rel=1e-5)
    assert (
        term.item()
        == layer(replace(one, codebook_size=5)).item()
        == layer(replace(one, codebook_size=900)).item()
    )
    term.backward()
    assert (z.grad.abs().sum(1) > 0).tolist() == (INDICES >= 0).tolist()


def test_the_gradient_of_a_used_code_is_shared_by_its_tokens():
    codes, z = CODES.clone().requires_grad_(), (CODES[INDICES] + 0.1).requires_grad_()
    layer = Homology(points="quantized", h0_target=9.0)
    layer(used(codes, INDICES, z)).backward()
    assert codes.grad is None
    points = CODES[[0, 1, 3, 4]].requires_grad_()
    evaluate(Homology(points="codebook", h0_target=9.0), points).backward()
    shared = torch.zeros(6, 2).index_add(0, INDICES + 1, z.grad)
    torch.testing.assert_close(shared[[1, 2, 4, 5]], points.grad)
    assert torch.equal(z.grad[1], z.grad[2])
    assert z.grad[3].abs().sum() == 0


def test_used_codes_are_exact_however_many_tokens_share_them():
    codes, indices = draw(7, 3), torch.arange(7).repeat(1001)
    points, kept = sample_used_codes(used(codes, indices, draw(7007, 3)), 99)
    assert torch.equal(points, codes)
    assert kept.all()


def test_an_implicit_codebook_is_searched_on_every_step(searches, trees):
    for options in ({}, {"h1_weight": 1.0}):
        layer = Homology(points="codebook", **options)
        for step in range(3):
            evaluate(layer, latents=draw(6, 2), indices=torch.arange(6), step=step)
    assert trees == [6, 6, 6]
    assert searches == [0, 1, 2]


def test_half_precision_is_computed_in_full_precision():
    points = draw(30, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        term = evaluate(Homology(points="codebook"), points)
    assert term.dtype == torch.float32
    assert term.item() == pytest.approx(
        evaluate(Homology(points="codebook"), points.double()).item()
    )


class Turned(type(space())):
    """A manifold with a matrix product in its map, which autocast would round."""

    def expmap0(self, u):
        return u @ torch.linalg.qr(draw(4, 4))[0]


def test_autocast_is_off():
    z = draw(30, 4)
    expected = evaluate(Homology(), latents=z, manifold=Turned())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(evaluate(Homology(), latents=z, manifold=Turned()), expected)


NAN, INF = float("nan"), float("inf")
DEGENERATE = {
    "no point": torch.zeros(0, 2),
    "one": torch.ones(1, 2),
    "two": draw(2, 2),
    "two equal": torch.ones(2, 2),
    "all equal": torch.ones(9, 2),
    "duplicates": draw(5, 2).repeat(2, 1),
    "collinear": torch.linspace(0, 1, 9)[:, None] * torch.ones(2),
    "NaN": torch.cat([draw(8, 2), torch.tensor([[NAN, 0.0]])]),
    "inf": torch.cat([draw(8, 2), torch.tensor([[INF, -INF]])]),
    "nothing finite": torch.full((6, 2), NAN),
    "tiny": 1e-30 * draw(9, 2),
    "huge": 1e37 * draw(9, 2),
    "overflowing": 1e200 * draw(9, 2, dtype=torch.float64),
    "one far out": torch.cat([draw(8, 2), torch.tensor([[1e30, 0.0]])]),
}


@pytest.mark.parametrize("points", ["codebook", "latents", "quantized"])
@pytest.mark.parametrize("form", ["each", "mean"])
@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_clouds_give_a_finite_term_and_gradient(kind, form, points):
    cloud = DEGENERATE[kind].clone().requires_grad_()
    layer = Homology(**ALL | {"points": points, "h0_form": form})
    for step in (0, 1):  # step 1 uses what step 0 found
        cloud.grad = None
        term = layer(replace(used(cloud, torch.arange(len(cloud)), cloud), steps=step))
        term.backward()
        assert torch.isfinite(term)
        assert torch.isfinite(cloud.grad).all()
        assert term.dtype == cloud.dtype


def test_collapse_costs_the_whole_term_and_bad_points_cost_nothing():
    layer = Homology(points="codebook", h0_weight=2.0)
    assert evaluate(layer, DEGENERATE["all equal"]).item() == 2
    assert evaluate(layer, DEGENERATE["nothing finite"]).item() == 0
    assert evaluate(layer, DEGENERATE["overflowing"]).item() == 0
    kept = evaluate(Homology(points="codebook"), DEGENERATE["NaN"][:8]).item()
    assert evaluate(Homology(points="codebook"), DEGENERATE["NaN"]).item() == pytest.approx(kept)


def test_a_code_lost_between_searches_does_not_affect_the_gradient_of_others():
    layer, points = Homology(**ALL, refresh=9), draw(12, 3)
    evaluate(layer, points)
    points[[0, 5]] = NAN
    points.requires_grad_()
    term = evaluate(layer, points, step=1)
    term.backward()
    assert torch.isfinite(term)
    assert torch.isfinite(points.grad).all()
    assert (points.grad.abs().sum(1) > 0).sum() > 6


@pytest.mark.parametrize(("weight", "mode"), [(0.0, True), (1.0, False)])
def test_nothing_is_searched_or_measured_in_eval_or_at_weight_0(
    weight, mode, searches, trees, monkeypatch
):
    monkeypatch.setattr(regularizer.EntropyRatio, "forward", None)
    options = {"weight": weight, "strength": "entropy-ratio"}
    layer = VectorQuantizer(dim=4, codebook_size=8, regularizers={"homology": options}).train(mode)
    assert "homology" not in layer(draw(32, 4)).losses  # no error either, for want of inputs
    assert searches == trees == []


# -- what is kept between steps ---------------------------------------------


@pytest.fixture
def searches(monkeypatch):
    """The steps on which pairs were searched on the host."""
    steps, search = [], pair_search.search

    def recorded(*args, **kwargs):
        steps.append(args[2])
        return search(*args, **kwargs)

    monkeypatch.setattr(regularizer.pair_search, "search", recorded)
    return steps


@pytest.fixture
def trees(monkeypatch):
    """The sizes of the clouds whose spanning tree was found."""
    sizes, find = [], spanning_tree.find

    def recorded(order, kept):
        sizes.append(int(kept.sum()))
        return find(order, kept)

    monkeypatch.setattr(regularizer.spanning_tree, "find", recorded)
    return sizes


def test_pairs_are_kept_until_the_refresh_and_lengths_computed_each_step(searches):
    layer, points = Homology(points="codebook", refresh=4), draw(30, 3)
    values = [
        evaluate(layer, points + 0.1 * step * draw(30, 3, seed=1), step=step).item()
        for step in range(10)
    ]
    assert searches == [0, 4, 8]
    assert len(set(values)) == 10


def test_a_search_due_between_active_steps_runs_at_the_next_one(searches):
    layer = Homology(points="codebook", refresh=4)
    for step in (3, 6, 9, 12):
        evaluate(layer, draw(30, 3), step=step)
    assert searches == [3, 9]


def test_latents_are_searched_on_every_step(searches, trees):
    for options in ({}, {"h1_weight": 1.0}):
        layer = Homology(**options)
        for step in range(3):
            evaluate(layer, latents=draw(30, 3, seed=step), step=step)
    assert trees == [30, 30, 30]
    assert searches == [0, 1, 2]


def test_pairs_are_dropped_when_the_codebook_changes_shape_or_the_step_decreases(searches):
    layer = Homology(points="codebook", refresh=10)
    for step, points in (
        (0, draw(30, 3)),
        (1, draw(20, 3)),
        (2, draw(20, 4)),
        (3, draw(20, 4)),
        (0, draw(20, 4)),
    ):
        evaluate(layer, points, step=step)
    assert searches == [0, 1, 2, 0]


def test_each_codebook_of_a_step_has_its_own_pairs(searches):
    """Two codebooks in turn, as in a grouped quantizer, act as if each had its own regularizer."""
    shared, alone = Homology(**BOTH, refresh=3), [Homology(**BOTH, refresh=3) for _ in range(2)]
    for step in range(5):
        for number, layer in enumerate(alone):
            points = draw(30, 3, seed=number) * (1 + 0.3 * step * draw(30, 3, seed=9))
            assert torch.equal(
                evaluate(shared, points, step=step), evaluate(layer, points, step=step)
            )
    assert searches == [0] * 4 + [3] * 4
    assert len(shared._results) == 2


def test_memory_is_bounded_when_the_step_does_not_advance(monkeypatch):
    monkeypatch.setattr(regularizer, "MAX_CODEBOOKS", 3)
    layer = Homology(points="codebook")
    values = {evaluate(layer, draw(30, 3, seed=seed), step=0).item() for seed in range(6)}
    assert len(values) == 6
    assert len(layer._results) == 3


def train(layer, points, steps):
    """Codes that move on a fixed path, seen by ``layer``; the terms."""
    path = [points + 0.2 * step * draw(*points.shape, seed=5) for step in steps]
    return [
        evaluate(layer, codes, step=step).item() for codes, step in zip(path, steps, strict=True)
    ]


def test_a_resumed_run_continues_exactly():
    points = draw(30, 3)
    whole = Homology(**BOTH, refresh=7)
    expected = train(whole, points, range(20))[10:]
    first = Homology(**BOTH, refresh=7)
    train(first, points, range(10))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = Homology(**BOTH, refresh=7)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert train(second, points, range(10, 20)) == expected
    assert (
        train(Homology(**BOTH, refresh=7), points, range(10, 20)) != expected
    )  # the state is what does it


def test_state_can_be_restored_within_a_process():
    layer, points = Homology(**BOTH, refresh=7), draw(30, 3)
    train(layer, points, range(10))
    state = layer.state_dict()
    expected = train(layer, points, range(10, 11))
    layer.load_state_dict(state)
    assert train(layer, points, range(10, 11)) == expected
    assert len(layer._results) == 1  # step 10 again, and again its first codebook


def test_packing_keeps_everything():
    layer = Homology(**BOTH)
    for number in range(2):
        evaluate(layer, draw(20 + number, 3, seed=number))
    back = pair_search.unpack(pair_search.pack(layer._results))
    assert back.keys() == layer._results.keys()
    for place, cloud in layer._results.items():
        for field, value in vars(cloud).items():
            other = getattr(back[place], field)
            assert (
                torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value
            ), field
    assert pair_search.unpack(torch.tensor([pair_search.FORMAT + 1.0, 3.0])) == {}


def test_clouds_without_loops_do_not_change_the_running_median():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    life = 2**0.5 - 1
    layer = Homology(**BOTH, refresh=1)
    medians = []
    for step, points in enumerate((square[:2], square, 2 * square, square[:2])):
        evaluate(layer, points, step=step)
        medians.append(layer._results[0].median_lifetime)
    assert medians == pytest.approx([0, life, 1.1 * life, 1.1 * life], rel=1e-6)


def test_loops_without_a_lifetime_do_not_count_in_the_median():
    """Among the equal edges of a cross polytope one loop appears that the next equal edge fills."""
    cross = torch.cat([torch.eye(4), -torch.eye(4)])[[5, 0, 1, 4, 2, 6, 3, 7]]
    square = 50 + torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    layer = Homology(**BOTH)
    evaluate(layer, torch.cat([cross, square]))
    assert len(layer._results[0].filled) == 2
    assert layer._results[0].median_lifetime == pytest.approx(2**0.5 - 1, rel=1e-6)


# -- the package ------------------------------------------------------------


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_declaring_the_plugin_imports_neither_torch_nor_a_backend():
    code = "import sys, vq_homology.plugin as p, vq_homology.homology_config; p.vq_regularizers(); "
    heavy = "('torch', 'numpy', 'gudhi', 'gph', 'sklearn', 'scipy')"
    assert run(f"{code}print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_a_backend_is_imported_when_loops_are_first_searched():
    code = (
        "import sys, torch\n"
        "from vqcore import VectorQuantizer\n"
        "def step(**options):\n"
        "    layer = VectorQuantizer(dim=2, codebook_size=8, regularizers={'homology': options})\n"
        "    print([m for m in ('gudhi', 'gph', 'sklearn') if m in sys.modules])\n"
        "    layer(torch.randn(32, 2))\n"
        "    print([m for m in ('gudhi', 'gph', 'sklearn') if m in sys.modules])\n"
        "step()\n"
        "step(h1_weight=1.0, backend='gudhi')\n"
    )
    assert run(code).splitlines() == ["[]", "[]", "[]", "['gudhi']"]


def test_the_class_takes_the_options_of_its_config():
    assert Homology().config == HomologyConfig()
    options = {name: getattr(HomologyConfig(), name) for name in HomologyConfig.model_fields}
    assert Homology(**options).config == HomologyConfig()
    late = Homology(weight=0.5, every=3, start=4)
    assert (late.weight, late.every, late.start) == (0.5, 3, 4)
    with pytest.raises(ValidationError, match="h1_wieght"):
        Homology(h1_wieght=1.0)


@pytest.mark.parametrize(
    "options",
    [{"refresh": 11}, {"refresh": 0}, {"edge_quantile": 0}, {"max_points": 3}, {"h0_target": 0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        HomologyConfig(**options)


@pytest.mark.parametrize("quantizer", ["codebook", "ema", "grouped", "residual", "fsq"])
@pytest.mark.parametrize(
    "options", [{}, ALL, ALL | {"points": "quantized"}], ids=["latents", "codebook", "quantized"]
)
def test_it_trains_in_the_layer_with_every_quantizer(quantizer, options):
    if quantizer not in REGISTRY.names("quantizer"):
        pytest.skip(f"no quantizer {quantizer} is installed")
    layer = VectorQuantizer(
        dim=4, codebook_size=16, quantizer=quantizer, regularizers={"homology": options}
    )
    z = draw(64, 4).requires_grad_()
    for _ in range(2):
        out = layer(z)
        out.loss.backward()
        layer.update()
    assert out.losses["homology"] > 0
    assert torch.isfinite(z.grad).all()
    fresh = VectorQuantizer(
        dim=4, codebook_size=16, quantizer=quantizer, regularizers={"homology": options}
    )
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(z).losses["homology"], layer(z).losses["homology"])
    layer.eval()
    assert "homology" not in layer(z).losses


class TestQuantizedLatents(RegularizerConformance):
    """Conformance of ``quantized``; vqcore's tests cover the defaults of every regularizer."""

    def make(self, **options):
        return Homology(**ALL | {"points": "quantized"}, **options)

    def manifolds(self):
        return [space(name) for name in MANIFOLDS]


@pytest.mark.parametrize("points", ["latents", "quantized"])
def test_only_the_tree_could_make_a_step_wait(points, monkeypatch):
    """With a tree of the device, here a star, on a CPU that stands for a GPU."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(
        regularizer.spanning_tree,
        "find",
        lambda _, kept: (
            torch.stack(
                [torch.zeros_like(kept).long(), torch.arange(len(kept), device=kept.device)]
            ),
            torch.ones_like(kept).double().expand(2, -1) / len(kept),
        ),
    )
    torch.manual_seed(0)
    chosen = {"name": "homology", "points": points}
    layer = VectorQuantizer(dim=4, codebook_size=16, regularizers=[chosen]).to(device())
    z = draw(64, 4).to(device()).requires_grad_()
    for step in range(3):
        with no_waits("a step") if step else nullcontext():
            losses = layer(z).losses
            losses["homology"].backward()
            layer.update()
    assert z.grad.abs().sum() > 0


def test_it_is_recordable_where_the_device_finds_all_pairs():
    assert Homology().recordable
    assert Homology(points="quantized", h0_entropy_weight=1.0).recordable
    for options in ({"points": "codebook"}, {"h1_weight": 1.0}, {"strength": "entropy-ratio"}):
        assert not Homology(**options).recordable


def test_it_runs_outside_of_compiled_graphs():
    layer, points = Homology(points="codebook"), draw(30, 3)
    expected = evaluate(Homology(points="codebook"), points)
    graphs = []
    compiled = torch.compile(layer, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    assert torch.equal(compiled(batch(points)), expected)
    assert not graphs
