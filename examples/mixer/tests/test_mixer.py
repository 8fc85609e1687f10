"""The mixer keeps every rule of a backbone."""

import pytest
from vqcore import SettingError
from vqcore.testing import BackboneConformance, PluginConformance

from vq_mixer.backbone import Mixer

SMALL = {"width": 16, "token_width": 8, "depth": 2}


class TestMixer(BackboneConformance):
    shapes = ((1, 64), (3, 16, 8), (1, 4, 8, 8))

    def make(self, **injected):
        return Mixer(**injected, **SMALL)


class TestPlugin(PluginConformance):
    package = "vq-mixer"


@pytest.mark.parametrize("shape", [(32,), (1, 10, 8)])
def test_samples_that_patches_do_not_divide_are_refused(shape):
    with pytest.raises(SettingError, match="patch_size = 4"):
        Mixer(shape=shape, dim=8, **SMALL)
