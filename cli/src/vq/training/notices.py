"""What a run says before its first step."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vq.training.few_tokens import few_tokens
from vq.training.log_file import LOG
from vq.training.schedule import beyond_the_end
from vq.training.trainer import Trainer


def introduce(run: Trainer) -> None:
    """Log what the run consists of, and which of its settings go beyond its end."""
    LOG.info(_headline(run))
    if run.taken:
        LOG.info(run.taken.describe())
    if run.source.credits:
        LOG.info(run.source.credits)
    for sentence in beyond_the_end(run.total_steps, run.settings):
        LOG.warning(sentence)


def _headline(run: Trainer) -> str:
    sides = " x ".join(str(side) for side in run.source.shape)
    processes = run.accelerator.num_processes
    together = f", {processes} processes" if processes > 1 else ""
    parameters = f"{run.model.parameter_count / 1e6:.2f} M parameters"
    return (
        f"{run.config.title()}: {len(run.train_split)} samples of {sides} "
        f"({len(run.test_split)} held out), {run.model.describe_latents()}"
        f"{_compression(run)}, {parameters}, {run.device}{together}"
    )


def _compression(run: Trainer) -> str:
    """Tokens and bits of a sample, and how many times fewer they are than those of its values."""
    model, shape = run.model, run.source.shape
    if not model.has_codes:
        return ""
    tokens = math.prod(model.index_shape)
    bits = tokens * math.log2(model.codebook_size)
    each = 8 if len(shape) == 3 else 32  # images are stored as bytes
    times = math.prod(shape) * each / max(bits, 1)
    return f" ({tokens} a sample, {bits:.0f} bits: {times:.3g} times fewer than {each}-bit values)"


def notices(run: Trainer) -> Iterator[str]:
    """What else a user should know: settings without effect, the learning rate, few tokens."""
    settings = run.settings
    yield from _never_reached(run)
    if settings.precision == "tf32" and run.device.type == "cpu":
        yield "precision = tf32 acts on a GPU alone: this run is in float32"
    if settings.compile:
        yield "compile = true: the second step waits for the compiler, up to a minute"
    if settings.cuda_graph and run.compute.unrecorded:
        yield f"cuda_graph = true has no effect here: {run.compute.unrecorded}"
    if run.learning_rate.notice:
        yield run.learning_rate.notice
    if not run.objective.labelled:
        options = getattr(run.config.components["backbone"], "options", None)
        if notice := few_tokens(run.model, run.source.shape, options):
            yield notice


def _never_reached(run: Trainer) -> Iterator[str]:
    """Settings for steps that come after the end of the run."""
    settings, end = run.settings, run.total_steps
    if settings.max_steps is not None and end < settings.max_steps:
        yield (
            f"epochs = {settings.epochs} ends the run at step {end}, before "
            f"max_steps = {settings.max_steps}; leave one of them out"
        )
    start = settings.quantize_start
    if settings.bottleneck == "vq" and start >= end:
        yield f"quantize_start = {start} is never reached: the decoder only sees latents"
    for name, loss in run.objective.weighted.items():
        if loss.start >= end:
            yield f"losses.{name}.start = {loss.start} is never reached: the term never acts"
    for epoch in settings.sample_epochs:
        if epoch * run.steps_per_epoch > end:
            yield f"sample_epochs = {epoch} is never reached: there is no image of it"
