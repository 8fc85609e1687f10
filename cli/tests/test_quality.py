"""What vq evaluate adds to the metrics of training: SSIM, LPIPS, FID, bits, and their origin."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest
import torch

import vq as vq_api
from vq import optional_dependencies
from vq.evaluation.bits import Bits
from vq.evaluation.perceptual import Fid, Lpips
from vq.evaluation.structural import Ssim
from vqcore.interfaces.output import Output

CPU = torch.device("cpu")


def images(count, side, seed=0, channels=3):
    return (
        torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2
        - 1
    )


def usage(counts, sizes):
    """An output of a layer of which only the use of codes is looked at."""
    rest = dict.fromkeys(field.name for field in fields(Output))
    return Output(**rest | {"counts": torch.tensor(counts), "codebook_sizes": tuple(sizes)})


def evaluated(vq, run, *arguments):
    result = vq("evaluate", run.path, "--json", *arguments)
    assert result.code == 0, result
    return json.loads(result.out)


def test_images_have_similarity_bits_and_provenance(complete_run, vq):
    metrics = evaluated(vq, complete_run)
    assert metrics["dataset"]["name"] == "digits"
    assert (metrics["shape"], metrics["value_range"], metrics["samples"]) == (
        [1, 8, 8],
        [-1.0, 1.0],
        359,
    )
    assert {"vqcore", "torch", "torchmetrics"} <= set(metrics["versions"])
    assert metrics["usage"] == metrics["codes_used"] / 16
    assert metrics["index_bits_per_pixel"] == pytest.approx(16 * 4 / 64)
    assert metrics["entropy_bits_per_pixel"] == pytest.approx(
        16 * math.log2(metrics["perplexity"]) / 64
    )
    assert (metrics["ssim_window"], -1 < metrics["ssim"] < 1) == (7, True)
    again = evaluated(vq, complete_run)
    assert {**again, "seconds": 0} == {**metrics, "seconds": 0}


def test_vectors_have_bits_a_value_and_no_similarity(train, vq):
    trees = (
        "--dataset",
        "trees",
        "--set",
        "dataset.depth=5",
        "--backbone",
        "mlp",
        "--set",
        "backbone.tokens=3",
    )
    run = train(*trees, "--max-steps", 1)
    metrics = evaluated(vq, run)
    assert metrics["index_bits_per_value"] == pytest.approx(3 * 4 / 31)
    assert not {"ssim", "index_bits_per_pixel"} & set(metrics)
    for option in ("--fid", "--lpips"):
        result = vq("evaluate", run.path, option, "weights.pth")
        assert result.code == 2
        assert (
            f"{option} = 'weights.pth': expected a run on images; its samples have shape (31,)"
            in result.err
        )


def test_a_run_without_codes_has_no_code_metrics(train, vq):
    metrics = evaluated(vq, train("--set", "bottleneck=none", "--max-steps", 1))
    assert {"psnr", "mse", "ssim"} <= set(metrics)
    assert not {"usage", "perplexity", "index_bits_per_pixel"} & set(metrics)


def test_bits_by_hand():
    """Two codebooks of 4 and 2 codes, eight tokens each, over two samples of four values."""
    bits = Bits((4,))
    for counts in ([[4, 0, 0, 0], [2, 2, 0, 0]], [[0, 4, 0, 0], [4, 0, 0, 0]]):
        bits.update(torch.zeros(1, 4), torch.zeros(1, 4), usage(counts, [4, 2]))
    second = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert bits.compute() == {
        "index_bits_per_value": (8 * 2 + 8 * 1) / 8,
        "entropy_bits_per_value": pytest.approx((8 * 1 + 8 * second) / 8),
    }


@pytest.mark.parametrize(("side", "window"), [(16, 11), (11, 11), (10, 9), (8, 7), (3, 3)])
def test_similarity_takes_the_largest_window_that_fits(side, window):
    x, noise = images(4, side), images(4, side, seed=1)
    found = []
    for share in (0.0, 0.1, 0.5):
        ssim = Ssim((3, side, side), (-1.0, 1.0), CPU)
        for rows in (slice(0, 3), slice(3, 4)):
            ssim.update(x[rows], (1 - share) * x[rows] + share * noise[rows], None)
        found.append(ssim.compute())
    assert [numbers["ssim_window"] for numbers in found] == [window] * 3
    first, second, third = (numbers["ssim"] for numbers in found)
    assert first == pytest.approx(1)
    assert first > second > third > 0


def test_similarity_is_computed_in_double_precision():
    x, noise = 1 - 1e-3 * images(2, 16), 1e-3 * images(2, 16, seed=1)
    found = []
    for kind in (torch.float32, torch.float64):
        ssim = Ssim((3, 16, 16), (-1.0, 1.0), CPU)
        ssim.update(x.to(kind), (x + noise).to(kind), None)
        found.append(ssim.compute())
    assert found[0] == found[1]


# -- perceptual: the files' true format, with random weights in it ----------


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory):
    """Random weights of a network of LPIPS, its classifier left out, as torchvision names them."""
    import torchvision

    folder = tmp_path_factory.mktemp("lpips")

    def saved(name):
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.manual_seed(0)
            state = getattr(torchvision.models, name)(weights=None).features.state_dict()
            torch.save({f"features.{key}": value for key, value in state.items()}, path)
        return path

    return saved


@pytest.mark.parametrize(("name", "network"), [("alexnet", "alex"), ("squeezenet1_1", "squeeze")])
def test_lpips_is_recognised_by_its_weights_and_grows_with_the_difference(
    name, network, weights_of
):
    path, x, noise = (
        weights_of(name),
        images(3, 40, channels=1),
        images(3, 40, seed=1, channels=1),
    )
    found = []
    for share in (0.0, 0.2, 0.8):
        lpips = Lpips(path, (1, 40, 40), (-1.0, 1.0), CPU)
        lpips.update(x, (1 - share) * x + share * noise, None)
        found.append(lpips.compute())
    assert {numbers["lpips_network"] for numbers in found} == {network}
    assert [numbers["lpips"] for numbers in found] == sorted(numbers["lpips"] for numbers in found)
    assert found[0]["lpips"] == 0 < found[1]["lpips"]


def test_lpips_reads_the_files_weights(weights_of):
    path = weights_of("alexnet")
    network = Lpips(path, (3, 40, 40), (-1.0, 1.0), CPU).network.net
    weights = torch.load(path)
    for key, value in network.state_dict().items():
        assert torch.equal(value, weights[f"features.{key.partition('.')[2]}"])


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """Random weights of torch-fidelity's Inception, whose features neither vanish nor explode."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        state = module.FeatureExtractorInceptionV3("inception", ["2048"]).state_dict()
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(
        {key: value * 6**0.5 if "conv.weight" in key else value for key, value in state.items()},
        path,
    )
    return path


def frechet(one, two):
    """Distance of two Gaussians, with the trace of the root as a sum of singular values."""
    a, b = ((x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (one, two))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return ((one.mean(0) - two.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross


def test_fid_is_the_frechet_distance_of_the_features(inception):
    fid, x, passes = Fid(inception, (-1.0, 1.0), CPU), images(2, 16), []
    fid.metric.inception.register_forward_hook(
        lambda _, given, features: passes.append((*given, features))
    )
    fid.update(x, 0.3 * x, None)
    for part, (given, _) in zip((x, 0.3 * x), passes, strict=True):
        assert torch.equal(given, ((part + 1) / 2 * 255).round().byte())
    expected = frechet(*(features.double().numpy() for _, features in passes))
    assert expected > 1e-3
    assert fid.compute()["fid"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("option", ["--fid", "--lpips"])
@pytest.mark.parametrize(
    "content", [None, b"no weights", b"hello", {"features.0.weight": torch.zeros(3)}, [1, 2]]
)
def test_another_file_is_refused_with_how_to_get_the_right_one(
    option, content, complete_run, vq, tmp_path
):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    result = vq("evaluate", complete_run.path, option, path)
    assert result.code == 2
    assert f"{option} = '{path}': expected a file with" in result.err
    assert {"--fid": "pt_inception-2015-12-05-6726825d.pth", "--lpips": "alexnet-owt-7be5be79.pth"}[
        option
    ] in result.err
    assert "on a machine with a network" in result.err


def test_images_too_small_for_a_network(complete_run, vq, weights_of):
    result = vq("evaluate", complete_run.path, "--lpips", weights_of("alexnet"))
    assert result.code == 2
    assert "expected a network that takes images of 8 x 8; alex does not" in result.err


def test_a_missing_extra_is_named(complete_run, vq, monkeypatch):
    monkeypatch.setattr(
        optional_dependencies,
        "find_spec",
        lambda name: None if name == "torch_fidelity" else object(),
    )
    result = vq("evaluate", complete_run.path, "--fid", "weights.pth")
    assert result.code == 2
    assert "--fid needs torch_fidelity: pip install 'vq-cli[perceptual]'" in result.err


def test_without_json_data_and_versions_follow_the_table(complete_run, vq):
    result = vq("evaluate", complete_run.path)
    assert "entropy of the usage" in result.out
    assert "digits: samples of 1 x 8 x 8 in [-1, 1]; vqcore" in result.out
    assert "{" not in result.out


# -- during training ----------------------------------------------------------


def test_fid_and_lpips_start_anew(inception, weights_of):
    lpips, x = Lpips(weights_of("squeezenet1_1"), (3, 32, 32), (-1.0, 1.0), CPU), images(2, 32)
    found = []
    for share in (0.3, 0.8, 0.3):
        lpips.update(x, share * x, None)
        found.append(lpips.compute()["lpips"])
    assert found[0] == found[2] != found[1]
    fid = Fid(inception, (-1.0, 1.0), CPU)
    fid.update(x, x, None)
    fid.compute()
    assert fid.metric.real_features_num_samples == fid.metric.fake_features_num_samples == 0


@pytest.fixture
def trained(tmp_path, without_plots):
    """A run on noise of 32 x 32, with further settings."""

    def start(**settings):
        path = tmp_path / f"run-{len(settings)}"
        small = {"backbone.hidden": 8, "codebook_size": 16, "batch_size": 8, "eval_every": 2}
        return vq_api.train(
            dataset=images(16, 32), test_dataset=images(4, 32, seed=1), value_range=(-1.0, 1.0),
            max_steps=4, run_dir=path, settings={**small, **settings},
        )  # fmt: skip

    return start


def test_evaluations_in_training_have_lpips(trained, weights_of):
    plain = trained()
    weights = str(weights_of("squeezenet1_1"))
    run = trained(eval_lpips=weights)
    assert [each["test_lpips"] for each in run.history][-1] == run.metrics["lpips"]
    assert len([each for each in run.history if "test_lpips" in each]) == 2
    again = vq_api.evaluate(run, lpips=weights)
    assert again["lpips"] == run.metrics["lpips"]
    for name in ("psnr", "perplexity"):  # watching changes nothing
        assert run.metrics[name] == plain.metrics[name]


@pytest.mark.parametrize("option", ["eval_lpips", "eval_fid"])
def test_weights_that_are_not_there_refuse_a_run_at_the_start(vq, tmp_path, option):
    result = vq("train", "--set", f"{option}=weights.pth", "--dataset", "image-folder")
    assert result.code == 2
    assert f"{option} = 'weights.pth': expected a file with" in result.err
    assert "there is no such file" in result.err
    assert "torch.hub.get_dir()" in result.err
    assert not (tmp_path / "runs").exists()


def test_a_run_on_vectors_has_no_fid(vq, weights_of):
    few = ("--dataset", "trees", "--backbone", "mlp", "--max-steps", 2)
    result = vq("train", *few, "--set", f"eval_fid={weights_of('squeezenet1_1')}")
    assert result.code == 2
    assert "expected a run on images; its samples have shape" in result.err
