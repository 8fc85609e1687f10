"""A codebook that collapses is reported during the run."""

import pytest

from vq.training.callbacks.collapse_warning import collapse_warning


@pytest.mark.parametrize(
    ("line", "size", "warning"),
    [
        ({"perplexity": 51.1}, 1024, "the codebook collapses: perplexity 51.10 of 1024 codes"),
        ({"perplexity": 51.3}, 1024, None),
        ({"perplexity": 1.0}, 8, "perplexity 1.00 of 8 codes"),
        ({"perplexity": 1.2}, 8, None),
        ({"perplexity": 1.0}, 1, None),
        ({}, 64, None),
        (
            {"perplexity": 30.0, "codebooks": [{"perplexity": 58.0}, {"perplexity": 2.0}]},
            64,
            "codebook 1 of 2 collapses",
        ),
    ],
)
def test_below_five_percent_of_the_codes(line, size, warning):
    text = collapse_warning({"step": 300, **line}, size)
    assert (text is None) == (warning is None)
    if warning:
        assert text.startswith("step 300: ")
        assert warning in text
        for remedy in (
            "init kmeans",
            "dead_code_threshold",
            "--quantizer ema",
            "--regularizer entropy",
            "--lr",
        ):
            assert remedy in text


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
    choices = (
        "--plugin-file",
        plugin_file("a_constant_encoder", source),
        "--set",
        "warmup_steps=4",
    )
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
    assert "step 8: the codebook collapses" in (run.path / "log.txt").read_text()


def test_a_healthy_run_gives_no_warning(complete_run):
    assert "collapses" not in complete_run.result.out
