"""The plots in a run folder: their content, when they are saved, and no effect on training."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch

from vq.models.autoencoder import build_model, build_source
from vq_report import plots, plugin
from vqcore.plugin.registry import default_registry

CPU = torch.device("cpu")


def built(**settings):
    """A model after one forward pass in training, so that its codes come from latents."""
    from vq.config.resolved_config import resolve_config

    values = {"backbone": {"hidden": 8}, "codebook_size": 16} | settings
    config = resolve_config(values, default_registry())
    source = build_source(config, default_registry())
    model = build_model(config, default_registry(), source).train()
    model(next(source.split("train").batches([torch.arange(64)], CPU)))
    return model, source


@pytest.fixture
def drawn(monkeypatch):
    """The charts of each plot that would have been rendered."""
    found = []

    def charts_png(charts, columns):
        found.append(charts)
        return b""

    for module in (plots.codebook, plots.curves):
        monkeypatch.setattr(module, "charts_png", charts_png)
    return found


@pytest.mark.parametrize(
    ("manifold", "quantizer", "codebooks"),
    [
        ("euclidean", "codebook", 1),
        ("sphere", "ema", 1),
        ("poincare", "codebook", 1),
        ("lorentz", {"name": "grouped", "shared": True}, 1),
        ("poincare", {"name": "residual", "stages": 6}, 4),
    ],
)
def test_codes_are_drawn_on_the_disk_if_there_is_one(
    drawn, tmp_path, manifold, quantizer, codebooks
):
    model, source = built(manifold=manifold, quantizer=quantizer)
    plots.save_codebook(tmp_path / "codebook.png", model, source.split("test"), CPU)
    maps, histograms = drawn[0][::2], drawn[0][1::2]
    assert len(maps) == codebooks
    assert model.training
    for chart in maps:
        points = np.concatenate([series.points for series in chart.series])
        assert np.isfinite(points).all()
        assert np.ptp(points, axis=0).min() > 1e-3
        assert chart.disk == (manifold in ("poincare", "lorentz"))
        if chart.disk:
            assert np.linalg.norm(points, axis=1).max() < 1
    bars, uniform = histograms[0].series
    assert len(bars.points) == 16
    assert sum(share for _, share in bars.points) == pytest.approx(100)
    assert {share for _, share in uniform.points} == {100 / 16}


def test_a_code_lies_on_the_disk_at_half_its_distance_from_the_origin(drawn, tmp_path):
    """The ball's radius of a tangent vector u is tanh |u|: projection keeps each length."""
    model, source = built(manifold="poincare")
    plots.save_codebook(tmp_path / "codebook.png", model, source.split("test"), CPU)
    _, *codes = drawn[0][0].series
    radii = np.linalg.norm(np.concatenate([series.points for series in codes]), axis=1)
    lengths = model.bottleneck.codebook.detach().norm(dim=1).numpy()
    assert np.sort(radii) == pytest.approx(np.sort(lengths), rel=1e-4)


def test_a_model_without_codes_has_its_latents_drawn(drawn, tmp_path):
    model, source = built(bottleneck="none")
    plots.save_codebook(tmp_path / "codebook.png", model, source.split("test"), CPU)
    ((chart,),) = drawn
    assert [series.name for series in chart.series] == ["latents"]
    assert len(chart.series[0].points) > 1000


def test_curves_show_every_loss_term_and_the_held_out_metrics(drawn, complete_run, tmp_path):
    plots.save_curves(tmp_path / "curves.png", complete_run.metrics)
    losses, quality, *usage = drawn[0]
    terms = {series.name: series.points for series in losses.series}
    assert set(terms) == {"reconstruction", "commitment", "entropy"}
    for name, points in terms.items():
        assert points == [(line["step"], line[name]) for line in complete_run.metrics]
    assert quality.series[0].points == [
        (line["step"], line["test_psnr"]) for line in complete_run.metrics
    ]
    assert [len(chart.series) for chart in usage] == [2, 2]
    line = {"step": 1, "loss": 1.0, "reconstruction": 1.0, "grad_norm": 1.0, "test_psnr": 9.0}
    plots.save_curves(tmp_path / "curves.png", [line])
    titles = [chart.title for chart in drawn[1]]
    assert titles[:2] == ["Loss terms, weighted", "Held-out PSNR"]
    assert not any("code" in title.lower() for title in titles)


def test_a_run_without_a_line_has_empty_curves(tmp_path):
    plots.save_curves(tmp_path / "curves.png", [])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


# -- the life-cycle hooks ---------------------------------------------------


@pytest.fixture
def training(tmp_path):
    """A run in training, as the hooks receive it."""
    model, source = built()
    run = SimpleNamespace(
        config=SimpleNamespace(settings=SimpleNamespace(sample_every=4, sample_epochs=[])),
        steps_per_epoch=5,
        model=model,
        evaluated=model,
        device=CPU,
        folder=SimpleNamespace(path=tmp_path),
        source=source,
        test_split=source.split("test"),
        step=0,
    )
    run.total_steps = 10
    run.is_due = lambda every: run.step % every == 0 or run.step == run.total_steps
    return run


def test_samples_are_saved_when_due_and_disturb_nothing(training, tmp_path):
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    state = torch.get_rng_state()
    for step in range(1, 11):
        training.step = step
        plugin.vq_step_end(training, step)
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["step-00000004.png", "step-00000008.png", "step-00000010.png"]
    assert training.model.training
    assert torch.equal(torch.get_rng_state(), state)
    after = training.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in training.model.parameters())


@pytest.mark.parametrize(
    ("every", "names"),
    [
        (None, ["step-00000000-epoch-0", "step-00000005-epoch-1", "step-00000010"]),
        (5, ["step-00000000-epoch-0", "step-00000005-epoch-1", "step-00000010"]),
        (8, ["step-00000000-epoch-0", "step-00000005-epoch-1", "step-00000008", "step-00000010"]),
    ],
)
def test_samples_of_epochs_are_named_so(training, tmp_path, every, names):
    training.config.settings.sample_every = every
    training.config.settings.sample_epochs = [0, 1]
    plugin.vq_run_start(training)
    for step in range(1, 11):
        training.step = step
        plugin.vq_step_end(training, step)
    assert sorted(path.stem for path in (tmp_path / "samples").iterdir()) == names


@pytest.mark.parametrize(
    ("status", "names"),
    [
        ("done", ["codebook.png", "curves.png"]),
        ("interrupted", ["codebook.png", "curves.png"]),
        ("failed", []),
    ],
)
def test_plots_of_the_run_are_saved_at_its_end(training, tmp_path, drawn, status, names):
    plugin.vq_run_end(training, status)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_only_what_needs_torch_imports_it():
    code = """
import sys, vq_report
assert not {"torch", "jinja2", "vq"} & set(sys.modules)
vq_report.compare
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Halving(torch.nn.Module):
    """A model that reconstructs half of each value."""

    def to_values(self, reconstruction):
        return reconstruction

    def forward(self, x):
        return SimpleNamespace(reconstruction=x / 2)


def saved(tmp_path, batch):
    """The pixels of the plot of these samples in [-1, 1], (H, W, 3)."""
    plots.save_reconstructions(tmp_path / "plot.png", Halving(), batch, (-1.0, 1.0))
    with PIL.Image.open(tmp_path / "plot.png") as image:
        return np.asarray(image)


@pytest.mark.parametrize("length", [1, 9, 600, 1024, 5000])
def test_a_signal_is_a_curve_above_its_reconstruction(tmp_path, length):
    pixels = saved(tmp_path, torch.linspace(-1, 1, length).expand(2, 1, length))
    assert 500 <= pixels.shape[1] <= 1024
    rows = pixels[..., 0].reshape(4, -1, pixels.shape[1])  # of the two inputs and reconstructions
    inked = [np.flatnonzero((row < 255).any(1)) for row in rows]
    if length > 1:
        assert [len(each) for each in inked] == [48, 24, 48, 24]
    assert all((row < 255).any(0).all() for row in rows)  # no gap in a curve


def test_a_clip_is_shown_by_its_middle_frame(tmp_path):
    clip = torch.full((1, 3, 5, 8, 8), -1.0)
    clip[:, :, 2] = 1.0
    alone = saved(tmp_path, clip[:, :, 2])
    assert np.array_equal(saved(tmp_path, clip), alone)
    assert alone.max() == 255
