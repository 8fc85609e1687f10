"""How embeddings follow a tree: the scores of known answers, and those of ``vq evaluate``."""

import json
import math

import pytest
import torch
from scipy.stats import spearmanr

import vq
from vq.data.hierarchy import Hierarchy
from vq.data.tree import Tree
from vq.data.trees import Trees
from vq.evaluation.tree_score import ancestor_ranks, embedding_scores, tree_metrics, tree_of
from vq.models.autoencoder import VQModel
from vqcore import VectorQuantizer
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.data.tensor_split import TensorSplit
from vqcore.interfaces.backbone import Backbone
from vqcore.interfaces.dataset import DataSource

FLAT = Euclidean()


def test_an_isometric_embedding_scores_one():
    """A path on a line; its nodes get further from the origin with every level."""
    scores = embedding_scores(torch.arange(6.0).unsqueeze(1) * 0.3, FLAT, Tree.full(1, 5))
    expected = {"correlation": 1, "radius_level": 1, "distortion": 0}
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_several_vectors_of_a_node_are_a_point_in_the_product():
    torch.manual_seed(0)
    tree, embeddings = Tree.full(2, 3), torch.randn(15, 2, 3, 2)
    scores = embedding_scores(embeddings, FLAT, tree)
    assert scores == pytest.approx(embedding_scores(embeddings.flatten(1), FLAT, tree))
    nodes, (i, j) = torch.arange(15), torch.triu_indices(15, 15, 1)
    edges = tree.distance(nodes.unsqueeze(1), nodes)[i, j]
    distances = torch.cdist(embeddings.flatten(1), embeddings.flatten(1))[i, j]
    expected = torch.corrcoef(torch.stack([edges.float(), distances]))[0, 1]
    assert scores["correlation"] == pytest.approx(float(expected), abs=1e-5)
    ranks = spearmanr(embeddings.flatten(1).norm(dim=1), tree.levels).statistic
    assert scores["radius_level"] == pytest.approx(ranks, abs=1e-6)


def test_what_is_constant_scores_nothing():
    scores = embedding_scores(torch.ones(7, 1, 2), FLAT, Tree.full(2, 2))
    # All orders are as likely: of six others, one or two are ancestors, (1 + 5 / 2) on average.
    one = sum(1 / place for place in range(1, 7)) / 6
    assert scores["mean_rank"] == pytest.approx((2 * 3.5 + 8 * 3) / 10)
    assert one < scores["map"] < 2 * one
    expected = {"correlation": 0, "radius_level": 0, "distortion": 1}
    assert scores.items() >= expected.items()


def test_average_precision_is_the_mean_over_the_orders_of_equals():
    torch.manual_seed(0)
    ancestors = Tree.full(2, 3).ancestors
    distances = torch.randint(0, 4, (15, 15)).double()
    found = ancestor_ranks(distances, ancestors)
    precisions, places = [], []
    for _ in range(2000):
        order = (distances + torch.rand(15, 15)).fill_diagonal_(9).argsort(1)
        hits = ancestors.gather(1, order)[1:].double()
        precision = hits.cumsum(1) / torch.arange(1, 16)
        precisions.append(((precision * hits).sum(1) / hits.sum(1)).mean())
        wrong = (1 - hits).cumsum(1)
        places.append((hits * (wrong + 1)).sum() / hits.sum())
    assert found["map"] == pytest.approx(float(torch.stack(precisions).mean()), abs=3e-3)
    assert found["mean_rank"] == pytest.approx(float(torch.stack(places).mean()), abs=3e-2)
    known = torch.where(ancestors, 1.0, 2.0).double()
    assert ancestor_ranks(known, ancestors) == {"map": 1, "mean_rank": 1}


class Own(Backbone):
    """Learns nothing: each of seven tokens is its own vector."""

    latent_shape = (7,)

    def encode(self, x):
        return x

    def decode(self, z):
        return z


class Graph(DataSource):
    """One sample: all nodes, a row each."""

    shape = (7, 2)
    tree = Tree.full(2, 2)

    def __init__(self, rows):
        self.rows = rows

    def split(self, name):
        return TensorSplit(self.rows.unsqueeze(0))


def test_nodes_may_be_the_tokens_of_one_sample():
    torch.manual_seed(0)
    source = Graph(torch.randn(7, 2))
    layer = VectorQuantizer(dim=2, codebook_size=8).eval()
    model = VQModel(Own(), layer)
    scores = tree_metrics(model, source, source.split("test"), 4, torch.device("cpu"))
    expected = embedding_scores(source.rows, FLAT, source.tree)["correlation"]
    assert scores["tree_correlation_latents"] == pytest.approx(expected)
    codes = layer.encode(source.rows)
    found = embedding_scores(layer.decode(codes), FLAT, source.tree)["correlation"]
    assert scores["tree_correlation"] == pytest.approx(found)
    assert scores["tree_codes"] == len(codes.unique())
    assert "tree_correlation_noisy" not in scores


def test_images_that_show_nodes_are_no_nodes():
    source = Hierarchy(depth=2, branching=2, cell=4, samples=28)
    split = source.split("test")
    model = VQModel(Own(), VectorQuantizer(dim=2, codebook_size=8))
    assert len(split) == len(source.tree) == 7
    assert tree_of(source, split, model) is None


def test_noisy_nodes_are_the_papers_whatever_the_training_noise():
    clean = Trees(noise=0.0).split("test").data
    draws = [Trees(noise=noise).noisy_nodes(draw).data for noise in (0.0, 0.3) for draw in (0, 1)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert float((draws[0] ^ clean).float().mean()) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("bottleneck", ["vq", "none"])
def test_vq_evaluate_shows_the_score(tmp_path, bottleneck):
    quantizer = {"quantizer": {"name": "grouped", "groups": 2}} if bottleneck == "vq" else {}
    run = vq.train(
        dataset={"name": "trees", "depth": 4, "samples": 60}, backbone="mlp", dim=4, device="cpu",
        codebook_size=4, bottleneck=bottleneck, max_steps=3, run_dir=tmp_path / "run", **quantizer,
    )  # fmt: skip
    metrics = vq.evaluate(run)
    found = {name: value for name, value in metrics.items() if name.startswith("tree_")}
    names = ["correlation", "radius_level", "distortion", "map", "mean_rank", "correlation_noisy"]
    names += ["correlation_latents", "codes"] if bottleneck == "vq" else []
    assert found.keys() == {f"tree_{name}" for name in names}
    assert all(math.isfinite(value) for value in found.values())
    assert json.loads(json.dumps(found)) == found
    if bottleneck == "vq":
        assert 1 < found["tree_codes"] <= 15
        codes = run.model.encode(torch.stack(list(run.source.split("test").data)).float())
        assert found["tree_codes"] == len(codes.flatten(1).unique(dim=0))
