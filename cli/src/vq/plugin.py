"""The pipeline's own components: optimizers, backbones and data sets, registered like everybody's."""

from __future__ import annotations

from vq.pipeline.data.specs import DATASETS
from vqcore.component import ComponentSpec
from vqcore.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_optimizers() -> list[ComponentSpec]:
    """Adam and AdamW."""
    return [
        ComponentSpec(
            name="adam",
            target="torch.optim:Adam",
            config="vq.pipeline.optimizers:AdamConfig",
            summary="Adam",
        ),
        ComponentSpec(
            name="adamw",
            target="torch.optim:AdamW",
            config="vq.pipeline.optimizers:AdamWConfig",
            summary="Adam with decoupled weight decay",
        ),
    ]


@hookimpl
def vq_backbones() -> list[ComponentSpec]:
    """Convolutions, fully connected layers, and no network at all."""
    return [
        ComponentSpec(
            name="conv",
            target="vq.pipeline.backbones.conv:Conv",
            config="vq.pipeline.backbones.config:ConvConfig",
            summary="strided convolutions (kernel 4) and residual blocks, for pictures",
        ),
        ComponentSpec(
            name="hierarchical",
            target="vq.pipeline.backbones.hierarchical:Hierarchical",
            config="vq.pipeline.backbones.config:HierarchicalConfig",
            summary="convolutions with two or more levels of latents, each with codes of its own (VQ-VAE-2)",
        ),
        ComponentSpec(
            name="patches",
            target="vq.pipeline.backbones.patches:Patches",
            config="vq.pipeline.backbones.config:PatchesConfig",
            summary="no network: blocks of a picture are the latents (classical vector quantization)",
        ),
        ComponentSpec(
            name="mlp",
            target="vq.pipeline.backbones.mlp:MLP",
            config="vq.pipeline.backbones.config:MLPConfig",
            summary="fully connected layers, for vectors and small pictures",
        ),
    ]


@hookimpl
def vq_datasets() -> list[ComponentSpec]:
    """scikit-learn's digits and photos, paper A's trees, and torchvision's sets."""
    return DATASETS
