"""``--weight-ema``: what is averaged, what begins anew, and who uses it."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

from vq.api import load, train
from vq.hub.load import from_pretrained
from vq.hub.push import push
from vq.training.weight_average import WeightAverage, _learned_rows
from vqcore import VectorQuantizer
from vqcore.errors import UsageError
from vqcore.plugin.registry import default_registry

QUANTIZERS = sorted(
    spec.name
    for plugin in default_registry().plugins
    for spec in plugin.provides.get("quantizer", ())
)
DECAY = 0.9
SMALL = {"backbone": {"hidden": 8}, "codebook_size": 16, "batch_size": 256}


def trained_layer(quantizer, **options):
    """A layer, its optimizer and its average."""
    torch.manual_seed(0)
    known = {option["name"] for option in default_registry().options("quantizer", quantizer)}
    wanted = {"dead_code_threshold": 0.5, "usage_decay": 0.5}
    wanted = options or wanted
    wanted["inner"] = {"name": "codebook", **wanted}
    chosen = {"name": quantizer} | {name: wanted[name] for name in wanted if name in known}
    layer = VectorQuantizer(dim=8, codebook_size=16, quantizer=chosen)
    parameters = list(layer.parameters()) or [torch.nn.Parameter(torch.zeros(1))]
    return layer, torch.optim.Adam(parameters, lr=0.1), WeightAverage(layer, DECAY)


def weight(step):
    return 1 - min(DECAY, (1 + step) / (10 + step))


def learned(layer):
    """The table and the name of each parameter with a row for each code."""
    return {
        f"{name}.{own}": table
        for name, table in layer.named_modules()
        for own in _learned_rows(table)
    }


def train_step(layer, optimizer, seed):
    """Latents at four places only, so that codes die."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).repeat(16, 1)
    z = (places + 0.1 * torch.randn(64, 8, generator=generator)).requires_grad_()
    out = layer(z)
    (out.loss + out.quantized.square().mean()).backward()
    optimizer.step()
    optimizer.zero_grad()
    layer.update(optimizer)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_parameters_are_averaged_and_replaced_codes_begin_anew(quantizer):
    layer, optimizer, average = trained_layer(quantizer)
    anew = 0
    for step in range(1, 13):
        train_step(layer, optimizer, step)
        before = copy.deepcopy(average.model)
        renewed = {name: table.renewed > 0 for name, table in learned(layer).items()}
        average.update(step)
        for name, now in layer.named_parameters():
            expected = before.get_parameter(name).lerp(now, weight(step))
            if name in renewed:
                rows = renewed[name]
                expected[rows] = now[rows]
                anew += int(rows.sum()) if step > 1 else 0
            torch.testing.assert_close(average.model.get_parameter(name), expected)
        copied = average.model.quantizer.state_dict()
        for name, now in layer.quantizer.state_dict().items():
            if name not in dict(layer.quantizer.named_parameters()) and "extra" not in name:
                assert torch.equal(copied[name], now), name
    assert (anew > 0) == bool(learned(layer))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("size", [6, 24])
def test_a_resized_codebook_keeps_the_average_of_its_codes(quantizer, size):
    layer, optimizer, average = trained_layer(quantizer, dead_code_threshold=0)
    for step in range(1, 5):
        train_step(layer, optimizer, step)
        average.update(step)
    before = copy.deepcopy(average.model)
    try:
        moved = layer.resize_codebook(size, optimizer)
    except UsageError:
        return
    average.update(5)
    assert average.model.codebook.shape == layer.codebook.shape
    for (name, table), places in zip(learned(layer).items(), moved.view(-1, 16), strict=False):
        now, mean = layer.get_parameter(name), average.model.get_parameter(name)
        kept = places[places >= 0]
        expected = before.get_parameter(name)[places >= 0].lerp(now[kept], weight(5))
        torch.testing.assert_close(mean[kept], expected)
        assert torch.equal(mean[16:], now[16:])  # near copies until they start
        assert not table.renewed.any()
    train_step(layer, optimizer, 6)
    average.update(6)
    for name in learned(layer):  # the new codes have started
        assert torch.equal(average.model.get_parameter(name)[16:], layer.get_parameter(name)[16:])


def test_frozen_weights_are_their_average():
    layer, optimizer, average = trained_layer("codebook")
    layer.freeze_codes()
    for step in range(1, 4):
        train_step(layer, optimizer, step)
        average.update(step)
    assert torch.equal(average.model.codebook, layer.codebook)


def test_what_uses_a_run_uses_the_average(tmp_path, vq):
    seen = {}

    class Seen:
        def vq_run_end(self, run):
            seen["raw"], seen["averaged"] = (
                {name: each.clone() for name, each in model.state_dict().items()}
                for model in (run.model, run.evaluated)
            )

    run = train(
        run_dir="run", weight_ema=DECAY, max_steps=6, callbacks=[Seen()], quantizer="ema", **SMALL
    )
    loaded = {
        "memory": run.model.state_dict(),
        "folder": load(run.folder.path).state_dict(),
        "file": load_file(run.checkpoint / "model.safetensors"),
    }
    push(run, to_folder="pushed")
    loaded["pushed"] = from_pretrained("pushed").state_dict()
    name = "backbone.encoder.0.weight"
    for where, weights in loaded.items():
        assert torch.equal(weights[name], seen["averaged"][name]), where
    raw = load_file(run.checkpoint / "training.safetensors")
    assert torch.equal(raw[name], seen["raw"][name])
    assert not torch.equal(raw[name], seen["averaged"][name])
    for name in raw:
        if name.endswith("_extra_state"):
            assert torch.equal(raw[name], loaded["file"][name])
    evaluated = json.loads(vq("evaluate", "run", "--json").out)
    assert (evaluated["weights"], run.metrics["weights"]) == ("averaged", "averaged")
    assert evaluated["mse"] == run.metrics["mse"] == pytest.approx(run.history[-1]["test_mse"])
    assert "its weights averaged with decay 0.9." in (tmp_path / "pushed/README.md").read_text()


def test_without_an_average_there_is_one_file_of_weights(complete_run, vq):
    files = {path.name for path in complete_run.checkpoint.iterdir()}
    assert files == {"manifest.json", "model.safetensors", "trainer.pt"}
    assert json.loads(vq("evaluate", complete_run.path, "--json").out)["weights"] == "trained"


@pytest.mark.parametrize("decay", [1, -0.1, "high"])
def test_a_decay_out_of_range_is_named(vq, decay):
    result = vq("train", "--weight-ema", decay, "--dry-run")
    assert result.code == 2
    assert "weight" in result.err


def test_an_average_cannot_begin_on_resuming(copied_run, resume):
    error = resume(copied_run, "--weight-ema", 0.9, code=2).result.err
    assert "--resume: weight_ema cannot change" in error
