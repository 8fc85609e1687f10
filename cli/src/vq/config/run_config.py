"""The settings of a run, their defaults and limits. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from vqcore.plugin.bounds import Count, Seed, Size, Steps, StepsOrZero, Weight
from vqcore.plugin.component_config import (
    ActsIf,
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


_WITH_CODES = ActsIf("bottleneck", ("vq",))


class RunConfig(ComponentConfig):
    """Every setting that decides what a run computes, as in ``config.yaml`` of a run folder."""

    dataset: DatasetRef = ComponentRef(name="vq-cli/digits")
    """Data set."""
    backbone: BackboneRef = ComponentRef(name="vq-cli/conv")
    """Encoder and decoder."""
    bottleneck: Literal["vq", "none", "gaussian"] = "vq"
    """vq quantizes the latents. Baselines: none (an autoencoder) and gaussian (a VAE)."""
    kl_weight: Annotated[Weight | None, ActsIf("bottleneck", ("gaussian",))] = None
    """Weight (beta) of gaussian's KL divergence; null: 1 with Bernoulli likelihood, else 0.1."""
    manifold: ManifoldRef = ComponentRef(name="vqcore/euclidean")
    """Manifold of the latents and codes."""
    quantizer: Annotated[QuantizerRef, _WITH_CODES] = ComponentRef(name="vqcore/codebook")
    """Quantizer, which maps latents to codes."""
    estimator: Annotated[EstimatorRef, _WITH_CODES] = ComponentRef(name="vqcore/straight-through")
    """Gradient estimator, which passes gradients through the quantizer."""
    regularizers: dict[str, dict[str, Any]] = {}
    """Regularizers, as a mapping from names to options."""
    optimizer: OptimizerRef = ComponentRef(name="vq-cli/adamw")
    """Optimizer; --lr sets optimizer.lr."""
    dim: Size = 8
    """Dimension of a latent; the backbone patches sets its own."""
    code_dim: Size | None = None
    """Dimension of a code, with linear projections in and out; null: dim, without projections."""
    codebook_size: Annotated[int, Field(gt=0, le=2**62), _WITH_CODES] = 64
    """Number of codes in each codebook."""
    epochs: Steps | None = 80
    """Passes over the training split; null, as where only max_steps is given: it decides."""
    max_steps: Steps | None = None
    """Steps of the run. With epochs given too, the fewer of both; null: epochs decide."""
    batch_size: Count = 64
    """Samples per optimizer step, summed over all processes."""
    accumulate: Annotated[int, Field(gt=0, le=2**16)] = 1
    """Micro-batches per step and process; gradients are accumulated over them to save memory."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning-rate schedule after the warm-up: constant, or cosine decay to 0."""
    warmup_steps: StepsOrZero = 50
    """Steps over which the learning rate rises linearly from 0."""
    grad_clip: Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)] = 1.0
    """Maximum norm of the gradient; 0 disables clipping."""
    seed: Seed = 0
    """Seed of every random draw."""
    device: Annotated[str, BeforeValidator(_device_name)] = "auto"
    """auto, cpu, cuda, or one GPU as in cuda:1; auto takes a GPU if there is one."""
    precision: Annotated[Literal["no", "tf32", "bf16", "fp16"], BeforeValidator(_yaml_no)] = "no"
    """Of encoder and decoder; no: float32; tf32 acts on a GPU. The code search is in float32."""
    compile: bool = False
    """Compile the training step's forward and backward pass with torch.compile."""
    cuda_graph: bool = False
    """Record a training step on a GPU as one CUDA graph and replay it; see docs/training.md."""
    log_every: Steps = 50
    """Steps between lines of metrics.jsonl."""
    eval_every: Steps = 200
    """Steps between evaluations on the held-out split."""
    sample_every: Steps = 200
    """Steps between images of reconstructions."""
    checkpoint_every: Steps = 200
    """Steps between checkpoints; the last step always writes one."""
    keep_checkpoints: Count = 2
    """Number of most recent checkpoints to keep."""
    trackers: list[str] = []
    """Trackers that also receive the metrics: tensorboard, wandb, or others of Accelerate."""
    plugin_files: list[str] = []
    """Plugin files to load in addition to the installed plugins."""
