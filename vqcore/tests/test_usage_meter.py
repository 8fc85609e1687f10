"""Code usage over many steps, by hand."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.codebook.usage_meter import UsageMeter, to_floats


def layer(codes, **options):
    torch.manual_seed(0)
    made = VectorQuantizer(
        dim=1, codebook_size=len(codes), quantizer={"name": "ema", "decay": 0.0, **options}
    )
    made.quantizer.set_points(
        torch.ones(len(codes), dtype=torch.bool), torch.tensor(codes).unsqueeze(1)
    )
    made.quantizer.started = True
    return made


def test_metrics_are_those_of_all_tokens_together():
    made, meter = layer([0.0, 10.0, 20.0], dead_code_threshold=0).eval(), UsageMeter()
    meter.add(
        made(torch.tensor([[1.0], [-1.0], [0.0], [float("nan")]]))
    )  # three on the first code, one bad
    meter.add(made(torch.tensor([[12.0]])))
    metrics = to_floats(meter.close())
    share = torch.tensor([0.75, 0.25])
    assert metrics["perplexity"] == [pytest.approx(float((-share * share.log()).sum().exp()))]
    assert (metrics["codes_used"], metrics["dead_codes"], metrics["bad_tokens"]) == ([2], [1], [1])
    assert (
        metrics["quantization_error"] == metrics["errors"] == [pytest.approx((1 + 1 + 0 + 4) / 4)]
    )
    with pytest.raises(ValueError, match="the meter is empty"):
        meter.close()


def test_stages_have_separate_metrics():
    torch.manual_seed(0)
    made, meter = (
        VectorQuantizer(dim=4, codebook_size=8, quantizer={"name": "residual", "stages": 3}),
        UsageMeter(),
    )
    for _ in range(3):
        out = made(torch.randn(64, 4))
        made.update()
        meter.add(out)
    metrics = meter.close()
    assert {name: tuple(value.shape) for name, value in metrics.items()} == {
        "perplexity": (3,), "codes_used": (3,), "dead_codes": (3,), "errors": (3,),
        "quantization_error": (), "bad_tokens": (), "replaced_codes": (),
    }  # fmt: skip
    first, _, last = metrics["errors"]
    assert last < first
    torch.testing.assert_close(
        metrics["quantization_error"], last
    )  # what the last stage leaves over is the whole's error


def test_replaced_codes_are_counted_since_the_last_close():
    made, meter = (
        layer([0.0, 100.0, 200.0], dead_code_threshold=0.5, usage_decay=0.0),
        UsageMeter(),
    )
    for _ in range(3):
        meter.add(made(torch.randn(32, 1)))
        made.update()
    assert meter.close()["replaced_codes"] == 2


def test_padding_of_a_smaller_codebook_is_not_counted_as_dead():
    torch.manual_seed(0)
    made, meter = VectorQuantizer(dim=20, codebook_size=2**20, quantizer="lfq"), UsageMeter()
    out = made(torch.randn(2000, 20))
    meter.add(out)
    metrics = meter.close()
    assert torch.equal(metrics["dead_codes"] + metrics["codes_used"], out.sizes)
    assert out.sizes.prod() == 2**20


def test_replaced_codes_are_counted_once_whatever_the_number_of_forwards():
    made, meter = (
        layer([0.0, 100.0, 200.0], dead_code_threshold=0.5, usage_decay=0.0),
        UsageMeter(),
    )
    for _ in range(2):
        for _ in range(4):
            meter.add(made(torch.randn(32, 1)))
        made.update()
    assert meter.close()["replaced_codes"] == 2
    meter.add(made(torch.randn(32, 1)))
    assert meter.close()["replaced_codes"] == 0
