"""A decoder that is the distance: its logits, and a run over the whole pipeline."""

import pytest
import torch
from safetensors.torch import load_file

import vq
from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.models.backbones.distance import Distance
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
LINKS = SampleSpec((7, 7), (0.0, 1.0), "bernoulli")


def model_of(**settings):
    settings = {"backbone": {"name": "distance", "temperature": 2.0}, "dim": 4, **settings}
    return build_model(resolve_config(settings, REGISTRY), REGISTRY, LINKS).eval()


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
@pytest.mark.parametrize("bottleneck", ["vq", "none"])
def test_logits_are_distances_on_the_manifold(manifold, bottleneck):
    model = model_of(manifold=manifold, bottleneck=bottleneck)
    x = torch.zeros(2, 7, 7)
    space, u = model.bottleneck.manifold, model.bottleneck(model.latents(x)).quantized
    points = space.expmap0(u[0])
    expected = -space.pairwise_dist(points, points) / 2
    found = model(x).reconstruction
    assert torch.allclose(found, expected.expand(2, 7, 7), atol=1e-4)
    assert not any("_space" in name for name in model.state_dict())


def test_groups_are_points_of_a_product():
    model = model_of(manifold="poincare", quantizer={"name": "grouped", "groups": 2})
    x = torch.zeros(1, 7, 7)
    space, u = model.bottleneck.manifold, model.bottleneck(model.latents(x)).quantized
    points = space.expmap0(u[0].unflatten(-1, (2, 2))).unbind(1)
    squared = sum(space.pairwise_squared_dist(each, each) for each in points)
    assert torch.allclose(model(x).reconstruction[0], -squared.sqrt() / 2, atol=1e-4)


@pytest.mark.parametrize("shape", [(7, 8), (7,), (1, 7, 7)])
def test_samples_that_relate_no_nodes_are_refused(shape):
    with pytest.raises(SettingError, match=r"backbone = 'distance': expected samples of n x n"):
        Distance(shape=shape, dim=2)


def test_a_run_learns_the_ancestors_and_resumes_to_the_bit(tmp_path):
    settings = {
        "dataset": {"name": "tree-links", "depth": 5}, "backbone": "distance", "losses.links": {},
        "manifold": {"name": "poincare", "max_radius": 5, "search": "ball"}, "dim": 3,
        "quantizer": {"name": "ema", "decay": 0.9, "init": "kmeans", "commitment_weight": 0.5},
        "codebook_size": 24, "quantize_start": 100, "blend_steps": 0, "max_steps": 150,
        "optimizer": {"name": "adam", "lr": 0.1}, "grad_clip": 0, "precision": "float64",
        "device": "cpu", "eval_every": 10_000, "sample_every": 10_000, "checkpoint_every": 60,
    }  # fmt: skip
    run = vq.train(settings=settings, run_dir=tmp_path / "whole")
    found = vq.evaluate(run)
    assert found["tree_map"] > 0.6
    assert found["tree_codes"] > 16
    assert found["tree_mean_rank"] < 3

    class Stop(Exception):
        pass

    class StopAt:
        def vq_step_end(self, run, step, losses):
            if step == 125:
                raise Stop

    with pytest.raises(Stop):
        vq.train(settings=settings, run_dir=tmp_path / "parts", callbacks=[StopAt()])
    vq.train(resume=tmp_path / "parts")
    whole, parts = (
        load_file(tmp_path / name / "checkpoints" / "step-00000150" / "model.safetensors")
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
