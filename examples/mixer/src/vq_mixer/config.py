"""Options of the mixer."""

from __future__ import annotations

from vqcore import ComponentConfig
from vqcore.plugin.bounds import Depth, Size


class MixerConfig(ComponentConfig):
    """Options of the mixer."""

    sets_dim = False  # a latent has the dimension that the config asks for

    patch_size: Size = 4
    """Side of a patch, which gives one latent; it divides the sides of a sample."""
    width: Size = 64
    """Channels of a patch."""
    token_width: Size = 64
    """Hidden units of the MLP over patches."""
    depth: Depth = 2
    """Blocks of the encoder, and of the decoder."""
