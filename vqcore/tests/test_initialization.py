"""Initial codes on every manifold: at the latents' scale and place, latents, or centroids."""

import pytest
import torch

from vqcore.codebook import initialization
from vqcore.distributed import sample_rows
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
DIM, COUNT = 3, 400
manifolds = pytest.mark.parametrize("name", REGISTRY.names("manifold"))


def space(name):
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


def cloud(n=500, scale=0.1, shift=0.3):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(n, DIM, generator=generator) + torch.tensor([shift, 0.0, 0.0])


def start(kind, name, z, mask=None, count=COUNT, **options):
    mask = torch.ones(len(z), dtype=torch.bool) if mask is None else mask
    points, found = initialization.from_latents(kind, count, z, mask, space(name), 7, **options)
    assert space(name).check_points(points) is None
    return space(name).logmap0(points), found


@manifolds
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_codes_around_the_origin_have_the_latents_scale(name, kind):
    z = cloud()
    codes, _ = start(kind, name, z)
    rms = z.square().mean().sqrt()
    assert codes.mean(0).abs().max() < 0.2 * rms
    torch.testing.assert_close(codes.square().mean().sqrt(), rms, rtol=0.1, atol=0)
    if kind == "uniform":
        assert codes.abs().max() <= 3**0.5 * rms * 1.001
    codes, _ = start(kind, name, z, scale=0.05)
    torch.testing.assert_close(codes.square().mean().sqrt(), torch.tensor(0.05), rtol=0.1, atol=0)


@manifolds
def test_a_wrapped_normal_has_the_latents_place_and_spread(name):
    z = cloud()
    codes, _ = start("wrapped-normal", name, z)
    torch.testing.assert_close(codes.mean(0), z.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(codes.std(0), z.std(0), rtol=0.25, atol=0)


@manifolds
@pytest.mark.parametrize("kind", ["normal", "uniform", "wrapped-normal", "data", "kmeans"])
def test_masked_latents_have_no_effect_and_no_token_is_reported(name, kind):
    z, mask = cloud(60), torch.arange(60) % 3 > 0
    poisoned = torch.where(mask.unsqueeze(1), z, 2.0)
    assert torch.equal(start(kind, name, poisoned, mask, 8)[0], start(kind, name, z, mask, 8)[0])
    for empty in (torch.zeros(60, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)):
        points, found = initialization.from_latents(kind, 8, z[: len(empty)], empty, space(name), 7)
        assert not found
        assert torch.isfinite(points).all()


@manifolds
def test_kmeans_finds_the_centroids_of_clusters_on_any_manifold(name):
    centres = 0.5 * torch.eye(DIM).repeat(2, 1) * torch.tensor([1.0, 1, 1, -1, -1, -1]).unsqueeze(1)
    z = centres.repeat(40, 1) + 0.02 * torch.randn(
        240, DIM, generator=torch.Generator().manual_seed(0)
    )
    codes, _ = start(
        "kmeans", name, z, count=24
    )  # more codes than clusters: every cluster gets some
    assert (
        torch.cdist(z, codes).amin(1).max() < 0.1
    )  # five standard deviations; clusters are 0.7 apart
    assert torch.cdist(centres, codes).amin(1).max() < 0.06


@manifolds
def test_kmeans_reseeds_empty_clusters_and_takes_fewer_latents_than_codes(name):
    z = cloud(5, scale=0.3)
    codes, _ = start("kmeans", name, z, count=16)
    assert torch.cdist(z, codes).amin(1).max() < 0.01
    assert len(codes.unique(dim=0)) == 16
    assert torch.cdist(codes, z).amin(1).max() < 0.05
    same = torch.zeros(
        40, DIM
    )  # all latents in one place: codes end around it, none NaN, none on another
    codes, _ = start("kmeans", name, same, count=6)
    assert len(codes.unique(dim=0)) == 6
    assert codes.norm(dim=1).max() < 0.1


@pytest.mark.parametrize("key", range(30))
def test_no_row_is_drawn_twice_while_there_are_enough(key):
    rows = torch.arange(12.0).unsqueeze(1)
    drawn, _ = sample_rows(rows, torch.ones(12, dtype=torch.bool), 8, key)
    assert len(drawn.unique()) == 8


def test_data_draws_each_latent_at_most_once_while_there_are_enough():
    z = cloud(50)
    codes, _ = start("data", "euclidean", z, count=50)
    assert torch.equal(codes.sort(0).values, z.sort(0).values)
