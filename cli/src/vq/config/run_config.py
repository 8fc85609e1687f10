"""The settings of a run, their defaults and limits. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from vqcore.plugin.bounds import Count, Decay, Seed, Size, Steps, StepsOrZero, Weight
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
    """Further loss terms: their names, each with its options."""
    losses: dict[str, dict[str, Any]] = {}
    """What compares reconstructions with samples; by default mse, or bernoulli for bits."""
    dim: Size = 8
    """Dimension of a latent; the backbone patches sets its own."""
    code_dim: Size | None = None
    """Dimension of a code, with linear projections in and out; null: dim, without projections."""
    codebook_size: Annotated[int, Field(gt=0, le=2**62), _WITH_CODES] = 64
    """Number of codes in each codebook."""
    optimizer: OptimizerRef = ComponentRef(name="vq-cli/adamw")
    """Optimizer."""
    max_steps: Steps | None = 2000
    """Steps of the run; null, as where only epochs is given: it decides. Of both, the fewer."""
    epochs: Steps | None = None
    """Length of the run in passes over the training split, instead of max_steps."""
    batch_size: Count = 64
    """Samples per optimizer step, summed over all processes."""
    accumulate: Annotated[int, Field(gt=0, le=2**16)] = 1
    """Micro-batches per step and process; gradients are accumulated over them to save memory."""
    schedule: Literal["constant", "cosine", "linear", "wsd"] = "cosine"
    """Learning rate after the warm-up: constant, decay to 0, or constant and then decay (wsd)."""
    warmup_steps: StepsOrZero | None = None
    """Steps over which the rate rises linearly from 0; null: a tenth of the run, at most 50."""
    blend_steps: Annotated[StepsOrZero | None, _WITH_CODES] = None
    """Steps over which the decoder's input turns from latents to codes; null: as warmup_steps."""
    quantize_start: Annotated[StepsOrZero, _WITH_CODES] = 0
    """First step that quantizes; before it, the decoder gets latents, as in an autoencoder."""
    grad_clip: Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)] = 1.0
    """Maximum norm of the gradient; 0 disables clipping."""
    weight_ema: Decay = 0.0
    """Decay of a moving average of the weights, which is then the model that results; 0: none."""
    init_from: Annotated[str, Field(min_length=1)] | None = None
    """Where the weights start: a run, a checkpoint, a pushed folder or owner/name on the hub."""
    seed: Seed = 0
    """Seed of every random draw."""
    device: Annotated[str, BeforeValidator(_device_name)] = "auto"
    """auto, cpu, cuda, or one GPU as in cuda:1; auto takes a GPU if there is one."""
    precision: Annotated[
        Literal["no", "tf32", "bf16", "fp16", "float64"], BeforeValidator(_yaml_no)
    ] = "no"
    """Of encoder and decoder; no: float32; tf32 acts on a GPU; float64: of codes, losses, too."""
    compile: bool = False
    """Compile the training step's forward and backward pass with torch.compile."""
    cuda_graph: bool = False
    """Record a training step on a GPU as one CUDA graph and replay it; see docs/training.md."""
    log_every: Steps = 50
    """Steps between lines of metrics.jsonl."""
    eval_every: Steps | None = None
    """Steps between evaluations on the held-out split; null: a 50th of the run, at least 200."""
    eval_samples: Count | None = 1024
    """Held-out samples of an evaluation in training, evenly spaced; null: all, as at the end."""
    eval_lpips: str | None = None
    """Also LPIPS in evaluations, with torchvision's weights in this file; see docs/evaluate.md."""
    eval_fid: str | None = None
    """Also FID (rFID) in evaluations, with torch-fidelity's weights in this file."""
    sample_every: Steps | None = None
    """Steps between images of reconstructions; null: as eval_every, or sample_epochs alone."""
    sample_epochs: list[StepsOrZero] = []
    """Epochs after which there is an image of reconstructions; 0: before the first step."""
    checkpoint_every: Steps | None = None
    """Steps between checkpoints, also after the last step; null: as for eval_every."""
    keep_checkpoints: Count = 2
    """Number of most recent checkpoints to keep."""
    trackers: list[str] = []
    """Trackers that also receive the metrics: tensorboard, wandb, or others of Accelerate."""
    plugin_files: list[str] = []
    """Plugin files to load in addition to the installed plugins."""
    plugins: dict[str, dict[str, Any]] = {}
    """Settings of plugins themselves, by plugin; vq show plugin NAME lists those of one."""
