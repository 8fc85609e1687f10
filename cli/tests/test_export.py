"""vq export: two graphs that choose the model's indices, as torch programs and in ONNX Runtime."""

import json

import numpy as np
import pytest
import torch

from vq import optional_dependencies
from vq.config.resolved_config import resolve_config
from vq.exports import write
from vq.exports.check import check
from vq.exports.formats import FORMATS
from vq.exports.programs import export_programs
from vq.models.autoencoder import build_model
from vq.runs.trained_run import load_run
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

STAGES = {"name": "residual", "stages": 2}
COMPOSITIONS = {
    "codebook": {},
    "ema-poincare": {"manifold": "poincare", "quantizer": "ema"},
    "grouped-residual-poincare": {
        "manifold": "poincare",
        "quantizer": {"name": "grouped", "inner": STAGES},
    },
    "simvq-product": {"manifold": "product", "quantizer": "simvq"},
    "fsq": {"quantizer": "fsq", "codebook_size": 240},
    "lfq": {"quantizer": "lfq", "codebook_size": 32},
}
#: Those exported to ONNX too, which takes seconds each; the trained run below has a search.
IN_ONNX = ("fsq", "lfq")
SHAPE = (12,)


def model_of(values, shape=SHAPE):
    """An untrained model, by default of vectors: tracing takes a fraction of what images need."""
    backbone = {"name": "mlp", "hidden": 16, "tokens": 6}
    settings = {"codebook_size": 32, "backbone": backbone, **values}
    return build_model(
        resolve_config(settings, default_registry()), default_registry(), SampleSpec(shape)
    ).eval()


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_exported_programs_choose_the_models_indices(name, tmp_path):
    model = model_of(COMPOSITIONS[name])
    (_, program, given, made), decoder = export_programs(model, SHAPE)
    for ending in FORMATS if name in IN_ONNX else ("pt2",):
        encode = FORMATS[ending](program, tmp_path / f"encoder.{ending}", given, made)
        for count in (1, 7, 300):
            samples = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(count))
            assert torch.equal(encode(samples), model.encode(samples))
    decode = decoder.program.module()
    indices = torch.zeros(2, *model.index_shape, dtype=torch.int64)
    masked = indices.clone()
    masked.view(-1)[0] = -1
    assert torch.allclose(decode(masked), model.decode(masked))
    for index in (-2, model.codebook_size, 2**40):
        indices.view(-1)[0] = index
        with pytest.raises(SettingError, match=f"indices = {index}: expected codes 0 to"):
            model.decode(indices)
        decoded = decode(indices)
        assert decoded[0].isnan().any()
        assert not decoded[1].isnan().any()


def test_vqgans_network_is_exported():
    size = {"channels": 4, "multipliers": [1, 1], "blocks": 1, "checkpointing": True}
    model = model_of({"backbone": {"name": "resnet", **size}}, (1, 8, 8))
    encoder, decoder = export_programs(model, (1, 8, 8))
    samples = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    indices = encoder.program.module()(samples)
    assert torch.equal(indices, model.encode(samples))
    assert torch.allclose(decoder.program.module()(indices), model.decode(indices), atol=1e-6)


def test_graphs_that_compute_something_else_are_refused():
    from vqcore.errors import RunError

    model = model_of({})
    with pytest.raises(RunError, match="encoder and the model differ in 96 of 96 indices"):
        check(model, lambda x: model.encode(x) + 1, model.decode, (-1, 1))
    with pytest.raises(RunError, match=r"the exported decoder and the model differ by 0\.5"):
        check(model, model.encode, lambda i: model.decode(i) + 0.5, (-1, 1))


def test_a_trained_run_in_onnx_runtime(complete_run, vq, tmp_path):
    import onnxruntime

    assert vq("export", complete_run.path, "-o", "out", "--format", "onnx").code == 0
    run = load_run(complete_run.path)
    split = run.source.split("test")
    samples = next(split.batches([torch.arange(len(split))], torch.device("cpu")))
    indices = run.model.encode(samples)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    assert session.get_inputs()[0].name == "samples"
    assert session.get_inputs()[0].shape == ["batch", 1, 8, 8]
    assert np.array_equal(
        session.run(["indices"], {"samples": samples.numpy()})[0], indices.numpy()
    )
    session = onnxruntime.InferenceSession(tmp_path / "out" / "decoder.onnx")
    decoded = session.run(["samples"], {"indices": indices.numpy()})[0]
    assert np.allclose(decoded, run.model.decode(indices).numpy(), atol=1e-5)
    indices[0, 0, 0] = run.model.codebook_size
    wrong = session.run(["samples"], {"indices": indices[:2].numpy()})[0]
    assert np.isnan(wrong[0]).any()
    assert np.allclose(wrong[1], decoded[1], atol=1e-5)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "encoder.onnx",
        "decoder.onnx",
        "export.json",
    }
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (about["encoder"], about["decoder"], about["format"]) == (
        "encoder.onnx",
        "decoder.onnx",
        1,
    )
    assert (about["sample_shape"], about["index_shape"], about["codebook_size"]) == (
        [1, 8, 8],
        [4, 4],
        16,
    )
    assert (about["value_range"], about["model"]["checkpoint"]) == ([-1.0, 1.0], "step-00000012")
    assert about["checked"]["differing_indices"] == 0
    assert about["out_of_range"].endswith("any other index out of range decodes to NaN")
    assert {"torch", "onnx"} <= set(about["versions"])


def test_levels_are_exported_as_one_sequence_for_torch_alone(train, vq, tmp_path):
    run = train(
        "--dataset",
        "photos",
        "--backbone",
        "hierarchical",
        "--set",
        "backbone.residual_blocks=0",
        "--max-steps",
        1,
    )
    result = vq("export", run.path, "-o", "out")
    assert result.code == 0, result
    assert "indices compared with the model's, 0 differ" in result.out
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["index_shape"] == [sum(h * w for h, w in about["latent_shapes"])]
    model = load_run(run.path).model
    indices = torch.randint(16, (3, *model.index_shape), generator=torch.Generator().manual_seed(0))
    samples = torch.export.load(tmp_path / "out" / "decoder.pt2").module()(indices)
    torch.testing.assert_close(samples, model.decode(indices), rtol=0, atol=1e-5)
    assert torch.equal(
        torch.export.load(tmp_path / "out" / "encoder.pt2").module()(samples), model.encode(samples)
    )


def test_a_folder_that_is_not_empty_is_refused(complete_run, vq, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    result = vq("export", complete_run.path, "-o", "out")
    assert result.code == 2
    assert "a path where nothing exists yet" in result.err


def test_a_missing_extra_is_named(complete_run, vq, tmp_path, monkeypatch):
    monkeypatch.setattr(
        optional_dependencies, "find_spec", lambda name: None if name == "onnxscript" else object()
    )
    result = vq("export", complete_run.path, "-o", "out", "--format", "onnx")
    assert result.code == 2
    assert "--format onnx needs onnxscript: pip install 'vq-cli[onnx]'" in result.err


def test_a_model_that_cannot_be_traced_leaves_nothing_behind(
    complete_run, vq, tmp_path, monkeypatch
):
    def refuse(model, shape):
        raise ValueError("data-dependent")

    monkeypatch.setattr(write, "export_programs", refuse)
    result = vq("export", complete_run.path, "-o", "out")
    assert result.code == 1
    assert "this model cannot be exported as pt2: ValueError: data-dependent" in result.err
    assert list(tmp_path.iterdir()) == []


def test_tokens_in_one_row_are_exported_for_any_number_of_samples():
    registry = default_registry()
    backbone = {"name": "vit", "width": 8, "depth": 1, "heads": 2, "tokens": 3}
    config = resolve_config({"backbone": backbone, "codebook_size": 16}, registry)
    model = build_model(config, registry, SampleSpec((1, 8, 8)))
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model(x)
    encoder, decoder = export_programs(model.eval(), (1, 8, 8))
    indices = encoder.program.module()(x)
    assert torch.equal(indices, model.encode(x))
    assert torch.allclose(decoder.program.module()(indices), model.decode(indices), atol=1e-6)
