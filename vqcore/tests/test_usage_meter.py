"""Code usage over many steps, by hand."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.codebook.usage_meter import UsageMeter, numbers


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


def test_figures_are_those_of_all_tokens_together():
    made, window = layer([0.0, 10.0, 20.0], dead_code_threshold=0).eval(), UsageMeter()
    window.add(
        made(torch.tensor([[1.0], [-1.0], [0.0], [float("nan")]]))
    )  # three on the first code, one bad
    window.add(made(torch.tensor([[12.0]])))
    figures = numbers(window.close())
    share = torch.tensor([0.75, 0.25])
    assert figures["perplexity"] == [pytest.approx(float((-share * share.log()).sum().exp()))]
    assert (figures["codes_used"], figures["dead_codes"], figures["bad_tokens"]) == ([2], [1], [1])
    assert (
        figures["quantization_error"] == figures["errors"] == [pytest.approx((1 + 1 + 0 + 4) / 4)]
    )
    with pytest.raises(ValueError, match="the window is empty"):
        window.close()


def test_stages_have_figures_of_their_own():
    torch.manual_seed(0)
    made, window = (
        VectorQuantizer(dim=4, codebook_size=8, quantizer={"name": "residual", "stages": 3}),
        UsageMeter(),
    )
    for _ in range(3):
        out = made(torch.randn(64, 4))
        made.update()
        window.add(out)
    figures = window.close()
    assert {name: tuple(value.shape) for name, value in figures.items()} == {
        "perplexity": (3,), "codes_used": (3,), "dead_codes": (3,), "errors": (3,),
        "quantization_error": (), "bad_tokens": (), "replaced_codes": (),
    }  # fmt: skip
    first, _, last = figures["errors"]
    assert last < first
    torch.testing.assert_close(
        figures["quantization_error"], last
    )  # what the last stage leaves over is the whole's error


def test_replaced_codes_are_counted_over_the_window():
    made, window = (
        layer([0.0, 100.0, 200.0], dead_code_threshold=0.5, usage_decay=0.0),
        UsageMeter(),
    )
    for _ in range(3):
        window.add(made(torch.randn(32, 1)))
        made.update()
    assert window.close()["replaced_codes"] == 2


def test_a_smaller_codebook_has_no_dead_codes_that_it_does_not_hold():
    torch.manual_seed(0)
    made, window = VectorQuantizer(dim=20, codebook_size=2**20, quantizer="lfq"), UsageMeter()
    out = made(torch.randn(2000, 20))
    window.add(out)
    figures = window.close()
    assert torch.equal(figures["dead_codes"] + figures["codes_used"], out.sizes)
    assert out.sizes.prod() == 2**20


def test_replaced_codes_are_counted_once_whatever_the_number_of_forwards():
    made, window = (
        layer([0.0, 100.0, 200.0], dead_code_threshold=0.5, usage_decay=0.0),
        UsageMeter(),
    )
    for _ in range(2):
        for _ in range(4):
            window.add(made(torch.randn(32, 1)))
        made.update()
    assert window.close()["replaced_codes"] == 2
    window.add(made(torch.randn(32, 1)))
    assert window.close()["replaced_codes"] == 0
