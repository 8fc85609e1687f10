"""The focal frequency loss keeps every rule of a loss, and has the values of its formula."""

import pytest
import torch
from vqcore import LossBatch, SampleSpec, SettingError, VectorQuantizer
from vqcore.testing import LossConformance, PluginConformance

from vq_focal_frequency.loss import FocalFrequency


class TestImages(LossConformance):
    def make(self, **options):
        return FocalFrequency(samples=self.samples, **options)


class TestSignals(TestImages):
    samples = SampleSpec((2, 64))


class TestPlugin(PluginConformance):
    package = "vq-focal-frequency"


def loss_of(inputs, reconstruction, alpha):
    samples = SampleSpec(tuple(inputs.shape[1:]))
    out = VectorQuantizer(dim=4, codebook_size=4)(torch.randn(2, 4))
    batch = LossBatch(inputs, reconstruction, reconstruction, out, (-1.0, 1.0), 0)
    return FocalFrequency(samples=samples, alpha=alpha)(batch)


def test_without_focus_it_is_the_mean_squared_error():
    x, y = torch.randn(2, 3, 3, 8, 8)
    torch.testing.assert_close(loss_of(x, y, 0.0), (x - y).square().mean())


def test_the_focus_is_on_the_worst_coefficient():
    wave = torch.sin(2 * torch.pi * torch.arange(8) / 8).expand(1, 1, 8, 8)
    weak = 0.1 * torch.sin(2 * torch.pi * 3 * torch.arange(8) / 8)
    both = loss_of(torch.zeros_like(wave), wave + weak, 1.0)
    torch.testing.assert_close(both, wave.square().mean() + 0.1 * weak.square().mean())


def test_vectors_are_refused():
    with pytest.raises(SettingError, match="use mse or l1"):
        FocalFrequency(samples=SampleSpec((8,)))
