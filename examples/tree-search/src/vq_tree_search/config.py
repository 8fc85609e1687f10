"""Options of the quantizer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from vqcore import CodebookConfig
from vqcore.plugin.bounds import Scale, Weight


class TreeCodebookConfig(CodebookConfig):
    """Options of the quantizer."""

    codebook_weight: Weight = 1.0
    """Weight of the codebook term, which pulls codes towards their latents."""
    lr_scale: Scale = 32.0
    """Learning rate of the codes, relative to the optimizer's."""
    beam: Annotated[int, Field(ge=1, le=1024)] = 4
    """Branches followed at once: more find the nearest code more often, and take longer."""
