"""A regularizer in a file of its own: vq train --plugin-file examples/my_plugin.py --regularizer short-codes"""

from torch import Tensor

from vqcore import ComponentSpec, LatentBatch, Regularizer, hookimpl

VQ_API = 1  # the version of the plugin interface this was written for


class ShortCodes(Regularizer):
    """Mean squared length of the codes that were chosen."""

    def forward(self, batch: LatentBatch) -> Tensor:
        """Called once a codebook in each training step; weight, every and start are handled for us."""
        return batch.z_q.square().mean()


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """Say what this plugin provides."""
    config, summary = (
        "vqcore.plugin.component_config:RegularizerConfig",
        "keeps the chosen codes near the origin",
    )
    return [
        ComponentSpec(
            name="short-codes", target=f"{__name__}:ShortCodes", config=config, summary=summary
        )
    ]
