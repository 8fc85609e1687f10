"""``sample``: codes drawn from a run's prior, decoded, and saved as images or arrays."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vq.data.pixels import PADDING, grid_png
from vq.files import write_bytes, writing
from vq.progress import working
from vq.runs.provenance import require_codes, require_samples
from vq.runs.trained_run import RunLike, load_run
from vq_prior.class_labels import with_labels
from vq_prior.prior_folder import load_prior
from vq_prior.transformer import CodePrior, KeyValueCache
from vqcore.errors import SettingError, did_you_mean
from vqcore.numerics import counter_rng

#: Sequences drawn or decoded at a time.
_BATCH = 256


@dataclass(frozen=True)
class Samples:
    """Samples drawn from a prior.

    Attributes:
        values: (N, *shape) float32 in the data's range, on the CPU.
        codes: their codes, (N, *index_shape) int64, on the CPU.
        classes: names of the classes that the samples cycle through; empty without classes.
        value_range: of the data.
    """

    values: Tensor
    codes: Tensor
    classes: list[str]
    value_range: tuple[float, float]

    def save(self, path: Path, indices: Path | None = None) -> None:
        """Write samples as .png (a grid of images, classes named) or .npy, and codes as .npy.

        Files are replaced.
        """
        files = {path: _npy(self.values)}
        if path.suffix == ".png":
            columns = grid_columns(len(self.values), self.classes)
            files[path] = grid_png(self.values, self.value_range, columns)
            if self.classes:
                names = [self.classes[i % len(self.classes)] for i in range(len(self.values))]
                files[path] = with_labels(files[path], names, columns, PADDING)
        if indices is not None:
            files[indices] = _npy(self.codes)
        for file, content in files.items():
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, content)


def sample(
    run: RunLike,
    count: int = 64,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    class_name: str | None = None,
    seed: int = 0,
    device: str | None = None,
    *,
    trust_plugins: bool = False,
) -> Samples:
    """Draw samples from a run's prior.

    Args:
        run: the run folder, or the run.
        count: number of samples.
        temperature, top_k, top_p, seed: see ``draw``.
        class_name: draw from this class; by default from each in turn, if the prior has classes.
        device: instead of the run's own.
        trust_plugins: see ``vq.load_run``.

    Raises:
        SettingError: if an argument is out of range, the run has no codes, or it is a classifier.
        UsageError: if the run has no prior for its present weights.
        RunError: if the prior is damaged.
    """
    run = load_run(run, device, trust_plugins=trust_plugins)
    require_codes(run)
    require_samples(run, "vq sample")
    prior, names = load_prior(run)
    classes = names if class_name is None else [_checked_class(class_name, names)]
    labels = None
    if classes:
        numbers = torch.tensor([names.index(name) for name in classes], device=run.device)
        labels = numbers[torch.arange(count, device=run.device) % len(classes)]
    tokens = draw(prior, count, temperature, top_k, top_p, labels, seed)
    codes = tokens.unflatten(1, run.model.index_shape)
    with working("decoding", count, "samples") as task:
        values = torch.cat([run.model.decode(part) for part in task.through(codes.split(_BATCH))])
    return Samples(values.cpu(), codes.cpu(), classes, run.samples.value_range)


@torch.no_grad()
def draw(
    prior: CodePrior,
    count: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Sequences of codes (count, T) int64, on the prior's device.

    Sequence i depends on the seed and on i, not on ``count``.

    Args:
        prior: in eval mode.
        count: number of sequences.
        temperature: divides the logits; 0 takes the most likely code.
        top_k: draw from the k most likely codes only.
        top_p: draw from the most likely codes whose probabilities add up to p (nucleus sampling,
            Holtzman et al. 2019, arXiv:1904.09751).
        labels: (count,), if the prior has classes.
        seed: of the draws.

    Raises:
        SettingError: if one of these is out of range.
    """
    for name, value, valid, expected in (
        ("temperature", temperature, 0 <= temperature < math.inf, "0 or more, and finite"),
        ("top_k", top_k, top_k is None or top_k >= 1, "at least 1 code"),
        ("top_p", top_p, top_p is None or 0 < top_p <= 1, "more than 0 and at most 1"),
    ):
        if not valid:
            raise SettingError(name, value, expected)
    key = counter_rng.key_of(seed)
    device = prior.position.device
    parts = []
    uniform = counter_rng.uniform(key, count, prior.length, device=device)
    with working("drawing", count * prior.length, "codes") as task:
        for rows in torch.arange(count, device=device).split(_BATCH):
            chosen = None if labels is None else labels[rows]
            cache = KeyValueCache(prior, len(rows))
            tokens: list[Tensor] = []
            for number in task.through(uniform[rows].unbind(1)):
                logits = prior.step(tokens[-1] if tokens else None, chosen, cache)
                tokens.append(pick(truncate(logits, temperature, top_k, top_p), number))
            parts.append(torch.stack(tokens, 1))
    return torch.cat(parts)


def truncate(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """Probabilities (B, K) float64 of logits (B, K), after temperature, top-k and top-p."""
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()
    probabilities = (logits.double() / temperature).softmax(1)
    ordered, order = probabilities.sort(dim=1, descending=True)
    if top_k is not None:
        ordered[:, top_k:] = 0
    if top_p is not None:
        ordered = ordered / ordered.sum(1, keepdim=True)
        ordered[ordered.cumsum(1) - ordered >= top_p] = 0  # the codes before it add up to p
    kept = torch.zeros_like(probabilities).scatter(1, order, ordered)
    return kept / kept.sum(1, keepdim=True)


def pick(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Codes (B,) drawn by inverting the cumulative probabilities (B, K) at uniform numbers (B,)."""
    ends = probabilities.cumsum(1)
    code = torch.searchsorted(ends, uniform.unsqueeze(1) * ends[:, -1:], right=True).squeeze(1)
    return code.clamp(max=probabilities.shape[1] - 1)


def _checked_class(name: str, names: list[str]) -> str:
    if not names:
        fix = "train a new one with: vq prior RUN --classes --overwrite"
        raise SettingError("--class", name, "a prior that was trained with classes", fix)
    if name not in names:
        expected = f"one of {', '.join(names[:20])}{', ...' * (len(names) > 20)}"
        raise SettingError("--class", name, expected, did_you_mean(name, names))
    return name


def grid_columns(count: int, classes: list[str]) -> int:
    """Columns of an almost square grid; with 2 to 20 classes a multiple of their number."""
    square = math.ceil(math.sqrt(count))
    if not 1 < len(classes) <= 20:
        return square
    return len(classes) * max(1, round(square / len(classes)))


def _npy(values: Tensor) -> bytes:
    file = io.BytesIO()
    np.save(file, values.numpy())
    return file.getvalue()
