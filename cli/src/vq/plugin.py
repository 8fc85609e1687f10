"""The pipeline's own components: optimizers, backbones and data sets, registered like everybody's."""

from __future__ import annotations

from vq.data.specs import DATASETS
from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1


@hookimpl
def vq_optimizers() -> list[ComponentSpec]:
    """Adam and AdamW."""
    return [
        ComponentSpec(
            name="adam",
            target="torch.optim:Adam",
            config="vq.training.optimizer_config:AdamConfig",
            summary="Adam",
        ),
        ComponentSpec(
            name="adamw",
            target="torch.optim:AdamW",
            config="vq.training.optimizer_config:AdamWConfig",
            summary="Adam with decoupled weight decay",
        ),
    ]


@hookimpl
def vq_backbones() -> list[ComponentSpec]:
    """Convolutions, fully connected layers, and no network at all."""
    return [
        ComponentSpec(
            name="conv",
            target="vq.models.backbones.conv:Conv",
            config="vq.models.backbones.backbone_config:ConvConfig",
            summary="strided convolutions (kernel 4) and residual blocks, for pictures",
        ),
        ComponentSpec(
            name="hierarchical",
            target="vq.models.backbones.hierarchical:Hierarchical",
            config="vq.models.backbones.backbone_config:HierarchicalConfig",
            summary="convolutions with two or more levels of latents, each with codes of its own (VQ-VAE-2)",
        ),
        ComponentSpec(
            name="patches",
            target="vq.models.backbones.patches:Patches",
            config="vq.models.backbones.backbone_config:PatchesConfig",
            summary="no network: blocks of a picture are the latents (classical vector quantization)",
        ),
        ComponentSpec(
            name="mlp",
            target="vq.models.backbones.mlp:MLP",
            config="vq.models.backbones.backbone_config:MLPConfig",
            summary="fully connected layers, for vectors and small pictures",
        ),
    ]


@hookimpl
def vq_datasets() -> list[ComponentSpec]:
    """scikit-learn's digits and photos, paper A's trees, and torchvision's sets."""
    return DATASETS
