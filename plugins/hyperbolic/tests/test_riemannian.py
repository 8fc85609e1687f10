"""Codes stored as points, and the optimizer that moves them."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from vq_hyperbolic.lorentz import Lorentz
from vq_hyperbolic.optimizer import riemannian_adam
from vq_hyperbolic.poincare import Poincare
from vq_hyperbolic.riemannian import geoopt, is_on_manifold
from vqcore import VectorQuantizer
from vqcore.errors import SettingError
from vqcore.plugin.registry import default_registry

both_models = pytest.mark.parametrize("model", [Poincare, Lorentz])
GEOOPT = {Poincare: geoopt.PoincareBall, Lorentz: geoopt.Lorentz}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def codes(manifold, count=6, dim=3):
    return manifold.parameter(
        manifold.random(count, dim, std=0.5, generator=torch.Generator().manual_seed(0))
    )


class Holder(torch.nn.Module):
    def __init__(self, manifold):
        super().__init__()
        self.manifold, self.codes = manifold, codes(manifold)


def holds(parameter, model, c):
    """Whether a parameter has the manifold of curvature -c; k is -c (ball) or 1/c (Lorentz)."""
    k = -c if model is Poincare else 1 / c
    same = is_on_manifold(parameter) and type(parameter.manifold) is GEOOPT[model]
    return same and float(parameter.manifold.k) == pytest.approx(k, rel=1e-12)


@both_models
def test_tangent_codes_are_plain_parameters_of_the_latents_dimension(model):
    manifold = model()
    points = manifold.random(6, 3, std=0.5)
    parameter = manifold.parameter(points)
    assert type(parameter) is torch.nn.Parameter
    assert parameter.shape == (6, 3)
    torch.testing.assert_close(manifold.codes(parameter)[1], points)


@both_models
def test_tangent_codes_out_of_reach_are_read_as_points_within_it(model):
    manifold = model()
    tangents, points = manifold.codes(torch.nn.Parameter(100 * normal(6, 3)))
    assert manifold.check_points(points) is None
    torch.testing.assert_close(manifold.logmap0(points), tangents, rtol=1e-4, atol=1e-5)


@both_models
@pytest.mark.parametrize("c", [0.5, 1.0])
def test_riemannian_codes_are_points_with_their_manifold(model, c):
    manifold = model(codes="riemannian", curvature=c)
    points = manifold.random(6, 3, std=0.5)
    parameter = manifold.parameter(points)
    assert holds(parameter, model, c)
    assert parameter.requires_grad
    torch.testing.assert_close(parameter.detach(), points)
    tangents, read = manifold.codes(parameter)
    torch.testing.assert_close(read, points)
    torch.testing.assert_close(tangents, manifold.logmap0(points))


@both_models
def test_a_code_on_the_edge_gets_the_gradient_that_leads_inwards(model):
    manifold = model(codes="riemannian")
    parameter = manifold.parameter(manifold.expmap0(100 * normal(4, 3)))
    with torch.no_grad():
        parameter.mul_(1.001)  # as rounding may leave it
    _, points = manifold.codes(parameter)
    manifold.squared_dist(points, manifold.expmap0(torch.zeros(4, 3))).sum().backward()
    start = manifold.project(parameter.detach())
    step = -0.1 * parameter.manifold.egrad2rgrad(start, parameter.grad)
    moved = manifold.logmap0(parameter.manifold.retr(start, step))
    assert (moved.norm(dim=-1) < 0.99 * manifold.logmap0(start).norm(dim=-1)).all()


@both_models
def test_parameters_are_made_of_projected_points(model):
    manifold = model(codes="riemannian")
    off = 1.5 * manifold.expmap0(100 * normal(4, 3))
    assert manifold.check_points(manifold.parameter(off)) is None


@both_models
def test_deepcopy_and_loading_keep_the_manifold(model):
    first, second = (
        Holder(model(codes="riemannian", curvature=0.5)),
        Holder(model(codes="riemannian", curvature=0.5)),
    )
    with torch.no_grad():
        second.codes.copy_(second.codes.manifold.projx(second.codes * 0.5))
    clone = copy.deepcopy(first).double()
    assert holds(clone.codes, model, 0.5)
    assert clone.codes.data_ptr() != first.codes.data_ptr()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert holds(second.codes, model, 0.5)
    assert torch.equal(second.codes.detach(), first.codes.detach())


@both_models
def test_a_lost_manifold_is_an_error_in_training(model):
    holder = Holder(model(codes="riemannian"))
    holder.load_state_dict(holder.state_dict(), assign=True)
    assert not is_on_manifold(holder.codes)
    with pytest.raises(SettingError, match="load_state_dict without assign=True"):
        holder.manifold.codes(holder.codes)
    holder.eval()
    assert holder.manifold.check_points(holder.manifold.codes(holder.codes)[1]) is None


@both_models
def test_fifty_steps_stay_on_the_manifold_and_learn(model):
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=8,
        codebook_size=16,
        manifold={"name": f"vqcore-hyperbolic/{model.__name__.lower()}", "codes": "riemannian"},
        quantizer={"name": "vqcore/codebook", "init": "normal", "dead_code_threshold": 0.01},
    )
    (parameter,) = layer.parameters()
    optimizer = riemannian_adam(layer.parameters())
    centres, losses = 3 * normal(16, 8, seed=1), []
    for step in range(50):
        out = layer(centres.repeat(8, 1) + 0.3 * normal(128, 8, seed=step))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        assert layer.manifold.check_points(parameter) is None
        layer.update(optimizer)
        losses.append(float(out.loss.detach()))
    assert holds(parameter, model, 1.0)
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


@both_models
@pytest.mark.parametrize("length", [0.05, 0.1])
def test_the_first_step_is_as_long_as_manifold_lr(model, length):
    manifold = model(codes="riemannian", curvature=0.5)
    parameter, target = (
        codes(manifold),
        manifold.random(6, 3, generator=torch.Generator().manual_seed(1)),
    )
    before = parameter.detach().clone()
    manifold.squared_dist(manifold.codes(parameter)[1], target).sum().backward()
    riemannian_adam([parameter], manifold_lr=length).step()
    moved = manifold.dist(before, parameter.detach())
    torch.testing.assert_close(moved, torch.full_like(moved, length), rtol=0.05, atol=0)


def test_ordinary_parameters_move_as_by_adam():
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    options = {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1}
    optimizers = [
        riemannian_adam(ours.parameters(), **options),
        torch.optim.Adam(theirs.parameters(), **options),
    ]
    for step in range(5):
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(normal(4, 3, seed=step)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_parameter_groups_are_split_by_kind_and_keep_their_options():
    points, flat, other = codes(Poincare(codes="riemannian")), *torch.nn.Linear(3, 2).parameters()
    groups = riemannian_adam(
        iter([points, flat]), lr=0.01, manifold_lr=0.2, weight_decay=0.1
    ).param_groups
    assert [(g["params"][0] is points, g["lr"], g["weight_decay"]) for g in groups] == [
        (False, 0.01, 0.1),
        (True, 0.2, 0.0),
    ]
    given = [{"params": [points, flat], "lr": 0.3}, {"params": other, "weight_decay": 0.5}]
    groups = riemannian_adam(given, lr=0.01, weight_decay=0.1).param_groups
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in groups] == [
        (1, 0.3, 0.1),
        (1, 0.3, 0.0),
        (1, 0.01, 0.5),
    ]
    assert given[0] == {"params": [points, flat], "lr": 0.3}


@both_models
@pytest.mark.parametrize("residuals", ["tangent", "manifold"])
@pytest.mark.parametrize("regularizer", default_registry().names("regularizer"))
def test_regularizers_are_finite_where_later_stages_are_zero(model, residuals, regularizer):
    """As many tokens as codes, started from them: what later stages get is rounding alone."""
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=8,
        codebook_size=64,
        manifold=model(codes="riemannian"),
        quantizer={"name": "residual", "residuals": residuals},
        regularizers=[regularizer],
    )
    z = normal(64, 8).requires_grad_()
    out = layer(z, inputs=normal(64, 5), decode=torch.nn.Linear(8, 3))
    assert out.loss.isfinite()
    found = torch.autograd.grad(out.loss, [z, *layer.parameters()], allow_unused=True)
    assert all(each.isfinite().all() for each in found if each is not None)
