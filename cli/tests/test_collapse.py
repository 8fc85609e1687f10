"""A codebook that collapses, and a loss that jumps, are reported during the run."""

from types import SimpleNamespace

import pytest

from vq.composition import compose, given_values
from vq.training.callbacks.collapse_warning import collapse, remedies
from vq.training.callbacks.spike_warning import SpikeWarning


@pytest.mark.parametrize(
    ("line", "size", "tokens", "found"),
    [
        ({"perplexity": 51.1}, 1024, 10_000, "the codebook collapses: perplexity 51.10 of 1024"),
        ({"perplexity": 51.3}, 1024, 10_000, None),
        ({"perplexity": 12.0}, 2**16, 64, None),  # few tokens cannot use many codes
        ({"perplexity": 3.1}, 2**16, 64, "perplexity 3.10 of 65536 codes"),
        ({"perplexity": 1.0}, 8, 100, "perplexity 1.00 of 8 codes"),
        ({"perplexity": 1.2}, 8, 100, None),
        ({"perplexity": 1.0}, 8, 1, None),
        ({"perplexity": 1.0}, 1, 100, None),
        ({}, 64, 100, None),
        (
            {"perplexity": 30.0, "codebooks": [{"perplexity": 58.0}, {"perplexity": 2.0}]},
            64,
            100,
            "codebook 1 of 2 collapses",
        ),
    ],
)
def test_below_five_percent_of_the_codes(line, size, tokens, found):
    text = collapse({"step": 300, **line}, size, tokens)
    assert (text is None) == (found is None)
    if found:
        assert text.startswith("step 300: ")
        assert found in text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, {".init kmeans", " ema", "--regularizer entropy", "lower --lr (0.003 here)"}),
        ({"quantizer.init": "kmeans"}, {" ema", "--regularizer entropy", "--lr"}),
        (
            {"quantizer.dead_code_threshold": 0},
            {".init kmeans", ".dead_code_threshold 0.2", " ema", "entropy", "--lr"},
        ),
        ({"quantizer": "ema", "regularizers": {"entropy": {}}}, {".init kmeans", "--lr"}),
        (
            {"quantizer": "residual", "quantizer.inner.dead_code_threshold": 0},
            {"--quantizer.inner.init kmeans", "--quantizer.inner.dead_code_threshold 0.2",
             "--quantizer.inner ema", "entropy", "--lr"},
        ),
        ({"quantizer": "fsq", "dim": 2}, {"entropy", "--lr"}),
    ],
)  # fmt: skip
def test_remedies_are_not_in_use_already(settings, named):
    config, _ = compose(given_values({"lr": 3e-3}, settings))
    found = list(remedies(config))
    assert len(found) == len(named)
    for name in named:
        assert any(name in each for each in found), name


@pytest.mark.parametrize("watched", [(), ("--set", "log_every=100", "--set", "eval_every=4")])
def test_a_run_that_collapses_warns_once(train, plugin_file, watched):
    """An encoder with a constant output uses one code; evaluations end a log line too."""
    source = """
from vq.models.backbones.conv import Conv
class Constant(Conv):
    def encode(self, x):
        return super().encode(x) * 0
@hookimpl
def vq_backbones():
    config = "vq.models.backbones.backbone_config:ConvConfig"
    target = __name__ + ":Constant"
    return [ComponentSpec(name="constant", target=target, config=config, summary="a mistake")]
"""
    choices = ("--plugin-file", plugin_file("a_constant_encoder", source))
    run = train(
        *choices,
        *watched,
        "--backbone",
        "constant",
        "--set",
        "quantizer.dead_code_threshold=0",
        "--max-steps",
        16,
    )
    assert run.result.out.count("collapses: perplexity 1.00 of 16 codes") == 1
    assert "dead_code_threshold 0.2" in run.result.out
    assert "step 4: the codebook collapses" in (run.path / "log.txt").read_text()


def test_a_healthy_run_gives_no_warning(complete_run):
    assert "collapses" not in complete_run.result.out


# -- the loss -----------------------------------------------------------------


def judged(losses, **settings):
    """The warnings about log lines of these losses, each a list with those of its steps."""
    optimizer = SimpleNamespace(options=SimpleNamespace(lr=0.01))
    run = SimpleNamespace(
        step=0,
        total_steps=2000,
        settings=SimpleNamespace(**{"warmup_steps": 50, "grad_clip": 1.0, **settings}),
        config=SimpleNamespace(components={"optimizer": optimizer}),
        accumulator=SimpleNamespace(losses=[]),
    )
    callback = SpikeWarning()
    for line in losses:
        run.step += len(line)
        run.accumulator.losses = [
            each if isinstance(each, dict) else {"loss": each, "reconstruction": each}
            for each in line
        ]
        callback.vq_log(run)


def test_a_loss_that_jumps_is_warned_of_once(caplog):
    judged([[1.0, 0.9, 0.8, 0.7], [0.6, 0.5, 90.0, 3.0], [900.0]])
    assert [each.message for each in caplog.records] == [
        "step 7: the loss jumps to 90, 120 times the median of the steps before. If it does not "
        "recover: lower --lr (0.01 here), or raise --warmup-steps (50 here)"
    ]


def test_the_term_that_jumps_is_named(caplog):
    before = {"loss": 1.0, "reconstruction": 0.5, "commitment": 0.5}
    judged([[before] * 6, [{"loss": 90.0, "reconstruction": 1.0, "commitment": 89.0}]])
    assert "the steps before, most of it commitment. If" in caplog.text


def test_a_loss_without_a_jump(caplog):
    judged([[100.0, 90.0, 3.0, 0.5, 0.2, 1.9], [0.1] * 8, [-1.0] * 200, [5.0]])
    assert not caplog.records


def test_gradients_that_are_not_clipped_are_a_cause(caplog):
    judged([[1.0] * 9 + [11.0]], grad_clip=0.0)
    assert "or clip the gradient (--grad-clip 1)" in caplog.text


def test_a_run_whose_loss_jumps(train):
    run = train("--max-steps", 24, "--set", "grad_clip=0", "--lr", 1, "--set", "warmup_steps=16")
    assert run.result.out.count("the loss jumps to") == 1
