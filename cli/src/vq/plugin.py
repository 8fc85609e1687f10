"""The components and presets of ``vq``, registered as any plugin's."""

from __future__ import annotations

from vq.config import presets
from vq.data.specs import DATASETS
from vqcore.plugin.component import ComponentSpec, PresetSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1

_BACKBONES = {
    "conv": ("Conv", "strided convolutions and residual blocks, for images, audio and video"),
    "resnet": ("ResNet", "VQGAN's residual blocks and attention, for images, audio and video"),
    "hierarchical": ("Hierarchical", "convolutions with several levels of latents (VQ-VAE-2)"),
    "vit": ("ViT", "a transformer over patches; 1-D latent tokens (TiTok) as an option"),
    "patches": ("Patches", "no network: patches of an image are the latents (classical VQ)"),
    "classifier": (
        "Classifier",
        "another backbone's encoder, and a head to the classes of samples",
    ),
    "mlp": ("MLP", "fully connected layers, for vectors and small images"),
    "distance": ("Distance", "no network: a free point for each node of a graph; distances"),
}
_OPTIMIZERS = {"adam": ("Adam", "Adam"), "adamw": ("AdamW", "Adam with decoupled weight decay")}


def _spec(name: str, target: str, config: str, summary: str) -> ComponentSpec:
    return ComponentSpec(name=name, target=target, config=config, summary=summary)


@hookimpl
def vq_optimizers() -> list[ComponentSpec]:
    """Adam and AdamW."""
    config = "vq.training.optimizer_config"
    return [
        _spec(name, f"torch.optim:{title}", f"{config}:{title}Config", summary)
        for name, (title, summary) in _OPTIMIZERS.items()
    ]


@hookimpl
def vq_backbones() -> list[ComponentSpec]:
    """Convolutions, transformers, fully connected layers, and what has no network or no decoder."""
    room = "vq.models.backbones"
    return [
        _spec(name, f"{room}.{name}:{title}", f"{room}.backbone_config:{title}Config", summary)
        for name, (title, summary) in _BACKBONES.items()
    ]


@hookimpl
def vq_datasets() -> list[ComponentSpec]:
    """The data sets of scikit-learn, torchvision and your own files, and generated trees."""
    return DATASETS


@hookimpl
def vq_presets() -> list[PresetSpec]:
    """Tokenizers of pictures and of sounds."""
    return presets.OWN
