"""The settings of a run, their defaults and limits. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from vqcore.plugin.component_config import (
    BackboneRef,
    ComponentConfig,
    ComponentRef,
    DatasetRef,
    EstimatorRef,
    ManifoldRef,
    OptimizerRef,
    QuantizerRef,
)


def _yaml_no(value: Any) -> Any:
    return "no" if value is False else value  # YAML reads a bare no as false


def _device_name(value: Any) -> Any:
    return str(value) if type(value).__name__ == "device" else value  # of torch, not imported here


class RunConfig(ComponentConfig):
    """Every setting that decides what a run computes, as in ``config.yaml`` of a run folder."""

    dataset: DatasetRef = ComponentRef(name="vq-cli/digits")
    """Data set."""
    backbone: BackboneRef = ComponentRef(name="vq-cli/conv")
    """Encoder and decoder."""
    bottleneck: Literal["vq", "none", "gaussian"] = "vq"
    """vq quantizes the latents. Baselines: none (an autoencoder) and gaussian (a VAE)."""
    kl_weight: NonNegativeFloat | None = None
    """Weight (beta) of gaussian's KL divergence; null: 1 with Bernoulli likelihood, else 0.1."""
    manifold: ManifoldRef = ComponentRef(name="vqcore/euclidean")
    """Manifold of the latents and codes."""
    quantizer: QuantizerRef = ComponentRef(name="vqcore/codebook")
    """Quantizer, which maps latents to codes."""
    estimator: EstimatorRef = ComponentRef(name="vqcore/straight-through")
    """Gradient estimator, which passes gradients through the quantizer."""
    regularizers: dict[str, dict[str, Any]] = {}
    """Regularizers, as a mapping from names to options."""
    optimizer: OptimizerRef = ComponentRef(name="vq-cli/adamw")
    """Optimizer; --lr sets optimizer.lr."""
    dim: PositiveInt = 8
    """Dimension of a latent; the backbone patches sets its own."""
    code_dim: PositiveInt | None = None
    """Dimension of a code, with linear projections in and out; null: dim, without projections."""
    codebook_size: PositiveInt = 64
    """Number of codes in each codebook."""
    epochs: PositiveInt = 80
    """Passes over the training split."""
    max_steps: PositiveInt | None = None
    """Stop after this many steps, even if epochs are left; null: no limit."""
    batch_size: PositiveInt = 64
    """Samples per optimizer step, summed over all processes."""
    accumulate: PositiveInt = 1
    """Micro-batches per step and process; gradients are accumulated over them to save memory."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning-rate schedule after the warm-up: constant, or cosine decay to 0."""
    warmup_steps: NonNegativeInt = 50
    """Steps over which the learning rate rises linearly from 0."""
    grad_clip: NonNegativeFloat = 1.0
    """Maximum norm of the gradient; 0 disables clipping."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of every random draw."""
    device: Annotated[str, BeforeValidator(_device_name)] = "auto"
    """auto, cpu, cuda, or one GPU as in cuda:1; auto takes a GPU if there is one."""
    precision: Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_yaml_no)] = "no"
    """Mixed precision of encoder and decoder; no: float32. The code search is always in float32."""
    compile: bool = False
    """Compile encoder and decoder with torch.compile."""
    log_every: PositiveInt = 50
    """Steps between lines of metrics.jsonl."""
    eval_every: PositiveInt = 200
    """Steps between evaluations on the held-out split."""
    sample_every: PositiveInt = 200
    """Steps between images of reconstructions."""
    checkpoint_every: PositiveInt = 200
    """Steps between checkpoints; the last step always writes one."""
    keep_checkpoints: PositiveInt = 2
    """Number of most recent checkpoints to keep."""
    trackers: list[str] = []
    """Trackers that also receive the metrics: tensorboard, wandb, or others of Accelerate."""
    plugin_files: list[str] = []
    """Plugin files to load in addition to the installed plugins."""
