"""Compares what one gets without tuning with vector-quantize-pytorch, as it comes and tuned.

    uv run python benchmarks/defaults.py --data ROOT [--datasets cifar10 ...] [--device cuda]

Every row trains the same network on the same batches with the same optimizer. The row of the
command (``vq train``) has the network, the batch size and the steps, and all else by its defaults.
ROOT holds ``cifar10`` (folders ``train`` and ``test`` of images), ``MNIST`` and ``FashionMNIST``;
without it the digits of scikit-learn are used, which need no files.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vq
from vq.models.backbones.conv import Conv
from vqcore import VectorQuantizer
from vqcore.interfaces.dataset import DataSource, Split
from vqcore.plugin.registry import default_registry

CODES, DIM, HIDDEN, BATCH, LR = 512, 32, 64, 64, 1e-3
EVAL_BATCH = 250
#: How far above the tuned peer, in dB, the rows of this project must be.
MARGIN = 0.3
TUNED, COMMAND = "peer, tuned", "ours, vq train"


def peer(**options: Any) -> nn.Module:
    """The layer of vector-quantize-pytorch."""
    from vector_quantize_pytorch import VectorQuantize

    return VectorQuantize(dim=DIM, codebook_size=CODES, accept_image_fmap=True, **options)


def tuned_peer() -> nn.Module:
    """The peer with what its users and papers set."""
    options = {"kmeans_init": True, "threshold_ema_dead_code": 2, "rotation_trick": False}
    return peer(decay=0.99, commitment_weight=0.25, **options)


def ours(**choices: Any) -> VectorQuantizer:
    """Our layer."""
    return VectorQuantizer(dim=DIM, codebook_size=CODES, channel_first=True, **choices)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "peer, as it comes": peer,
    "peer, straight-through": lambda: peer(rotation_trick=False),
    TUNED: tuned_peer,
    "ours, as it comes": ours,
    "ours, ema": lambda: ours(quantizer="ema"),
}
#: Rows that must be ``MARGIN`` above the tuned peer.
BOUNDED = ("ours, as it comes", COMMAND)
HEADER = f"  {'row':24} {'PSNR':>9} {'spread':>7} {'codes':>7} {'perplexity':>11} {'to tuned':>10}"


@dataclass(frozen=True)
class Result:
    """Held-out figures of one training."""

    psnr: float
    codes_used: float
    perplexity: float


class Data:
    """A data set, its training batches of a seed, and its held-out batches."""

    def __init__(self, choice: Mapping[str, Any], device: torch.device) -> None:
        registry = default_registry()
        self.choice, self.device = choice, device
        self.source: DataSource = registry.build(registry.resolve("dataset", dict(choice)))
        self.splits: dict[str, Split] = {n: self.source.split(n) for n in ("train", "test")}

    def training(self, steps: int, seed: int) -> Iterator[Tensor]:
        """Batches of passes in random order, the last and smaller one of each left out."""
        generator = torch.Generator().manual_seed(seed)
        total, order = len(self.splits["train"]), list[Tensor]()
        while len(order) < steps:
            order += torch.randperm(total, generator=generator).split(BATCH)[: total // BATCH]
        return iter(self.splits["train"].batches(order[:steps], self.device))

    def held_out(self) -> Iterator[Tensor]:
        """All held-out samples."""
        rows = torch.arange(len(self.splits["test"]))
        return iter(self.splits["test"].batches(rows.split(EVAL_BATCH), self.device))


def quantized(layer: nn.Module, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized latents, indices and loss of either library's layer."""
    out = layer(z)
    if isinstance(layer, VectorQuantizer):
        return out.quantized, out.indices, out.loss
    return out[0], out[1], out[2].sum()


def train_layer(make: Callable[[], nn.Module], data: Data, steps: int, seed: int) -> Result:
    """Train an autoencoder around a layer, in a loop as anybody writes it."""
    torch.manual_seed(seed)
    # with torch's initial weights, as a network of one's own has them
    network = Conv(shape=data.source.shape, dim=DIM, hidden=HIDDEN, init="torch").to(data.device)
    layer = make().to(data.device)
    optimizer = torch.optim.AdamW([*network.parameters(), *layer.parameters()], lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for x in data.training(steps, seed):
        z, _, loss = quantized(layer, network.encode(x))
        optimizer.zero_grad()
        (F.mse_loss(network.decode(z), x) + loss).backward()
        optimizer.step()
        schedule.step()
        if isinstance(layer, VectorQuantizer):
            layer.update()
    return evaluate(network, layer.eval(), data)


@torch.no_grad()
def evaluate(network: Conv, layer: nn.Module, data: Data) -> Result:
    """Figures on the held-out split; PSNR is that of the mean squared error."""
    low, high = data.source.value_range
    counts = torch.zeros(CODES, device=data.device)
    error, values = 0.0, 0
    for x in data.held_out():
        z, indices, _ = quantized(layer, network.encode(x))
        error += ((network.decode(z) - x) / (high - low)).double().square().sum().item()
        values += x.numel()
        counts += indices.flatten().bincount(minlength=CODES)
    entropy = torch.special.entr(counts / counts.sum()).sum()
    used = int((counts > 0).sum())
    return Result(-10 * math.log10(error / values), used, float(entropy.exp()))


def train_command(data: Data, steps: int, seed: int) -> Result:
    """``vq train``, whose summary has the figures."""
    network = {"name": "conv", "hidden": HIDDEN}
    sizes = {"dim": DIM, "codebook_size": CODES, "batch_size": BATCH, "max_steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        run = vq.train(
            dataset=dict(data.choice), backbone=network, seed=seed, device=str(data.device),
            run_dir=Path(folder) / "run", **sizes,
        )  # fmt: skip
        found = run.metrics
    return Result(found["psnr"], found["codes_used"], found["perplexity"])


def choice_of(name: str, root: str | None) -> dict[str, Any]:
    """A data set as the registry takes it."""
    if name == "digits":
        return {"name": "digits"}
    if root is None:
        raise SystemExit(f"{name}: give the folder of its files with --data")
    if name == "cifar10":
        return {"name": "image-folder", "root": f"{root}/cifar10", "image_size": 32}
    return {"name": name, "root": root, "pad": 2}


def line(row: str, results: Sequence[Result], tuned: float | None) -> str:
    """A row: means over the seeds, the spread of PSNR, the difference to the tuned peer."""
    psnr = [one.psnr for one in results]
    used = statistics.mean(one.codes_used for one in results)
    perplexity = statistics.mean(one.perplexity for one in results)
    mean, spread = statistics.mean(psnr), max(psnr) - min(psnr)
    text = f"  {row:24} {mean:6.2f} dB {spread:7.2f} {used:7.0f} {perplexity:11.1f}"
    if tuned is None or row.startswith("peer"):
        return text
    bound, verdict = "", ""
    if row in BOUNDED:
        bound, verdict = f">= {MARGIN:+.1f}", "ok" if mean - tuned >= MARGIN else "NOT REACHED"
    return f"{text} {mean - tuned:+10.2f} {bound:>7}  {verdict}".rstrip()


def main() -> None:
    """Train every row with every seed on every data set."""
    names = ("digits", "mnist", "fashion-mnist", "cifar10")
    rows = [*LAYERS, COMMAND]
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", metavar="ROOT", help="folder with the data sets")
    parser.add_argument("--datasets", nargs="+", choices=names)
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for name in options.datasets or ["cifar10" if options.data else "digits"]:
        data = Data(choice_of(name, options.data), torch.device(options.device))
        print(f"{name}, {options.steps} steps, seeds {options.seeds}\n{HEADER}", flush=True)
        tuned = None
        for row in options.rows:
            make = LAYERS.get(row)
            results = [
                train_layer(make, data, options.steps, seed)
                if make
                else train_command(data, options.steps, seed)
                for seed in options.seeds
            ]
            if row == TUNED:
                tuned = statistics.mean(one.psnr for one in results)
            print(line(row, results, tuned), flush=True)


if __name__ == "__main__":
    main()
