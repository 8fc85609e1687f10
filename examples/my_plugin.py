"""A plugin in a single file: a regularizer.

vq train --plugin-file examples/my_plugin.py --regularizer short-codes
"""

from torch import Tensor
from vqcore import ComponentSpec, LatentBatch, Regularizer, hookimpl
from vqcore.numerics.stable import masked_mean

VQ_API = 1  # the version of the plugin interface this was written for


class ShortCodes(Regularizer):
    """Mean squared length of the chosen codes."""

    def forward(self, batch: LatentBatch) -> Tensor:
        """Called once for each codebook; the caller handles weight, every and start."""
        return masked_mean(batch.z_q.square().mean(-1), batch.indices >= 0)


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """The regularizers of this plugin."""
    return [
        ComponentSpec(
            name="short-codes",
            target=f"{__name__}:ShortCodes",
            config="vqcore:RegularizerConfig",
            summary="keeps the chosen codes near the origin",
        )
    ]
