"""Trains recipes, each a few settings laid over one base, and compares what they reconstruct.

    uv run python benchmarks/recipes.py --data ROOT [--steps 2000] [--device cuda --workers 12]
    uv run python benchmarks/recipes.py --dataset photos --only plain ssim

``cifar10`` reads ROOT/cifar10, the folders ``train`` and ``test`` of images. ``photos`` needs no
files: its pictures are crops of 256x256 of two photos. All recipes of a data set have as many bits
a picture, steps and batches, but for what their names say. ``--out`` gets recipes.json, and for
each group of recipes a page of reconstructions: originals in the first row, then a row a recipe.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import vq

Settings = Mapping[str, Any]

#: What the recipes of a data set have in common: 64 tokens of 32x32 pixels, 1,024 of 256x256.
BASES: dict[str, Settings] = {
    "cifar10": {
        "backbone": {"name": "conv", "hidden": 32, "downsamplings": 2},
        "dim": 8, "codebook_size": 1024, "batch_size": 64,
    },
    "photos": {
        "dataset": {"name": "photos", "patch": 256, "flip": True},
        "backbone": {"name": "conv", "hidden": 32, "downsamplings": 3},
        "dim": 8, "codebook_size": 1024, "batch_size": 4,
    },
}  # fmt: skip
#: The recipe that the others are compared with; the base as it is.
PLAIN = "plain"
#: Networks for the same tokens, whose options depend on the size of the pictures.
NETWORKS: dict[str, dict[str, Settings]] = {
    "cifar10": {
        "conv, wide": {"backbone.hidden": 64},
        "resnet": {
            "backbone": {"name": "resnet", "channels": 16, "multipliers": [1, 2, 2]},
            "optimizer.lr": 2e-3,
        },
        "vit": {"backbone": {"name": "vit", "patch_size": 4, "depth": 2}},
        "vit, 1-D": {"backbone": {"name": "vit", "patch_size": 4, "depth": 2, "tokens": 64}},
    },
    "photos": {
        "conv, wide": {"backbone.hidden": 64},
        "resnet": {
            "backbone": {"name": "resnet", "channels": 8, "multipliers": [1, 1, 2, 2]},
            "optimizer.lr": 2e-3,
        },
        "vit": {"backbone": {"name": "vit", "patch_size": 8, "depth": 2}},
        "vit, 1-D": {"backbone": {"name": "vit", "patch_size": 8, "depth": 2, "tokens": 1024}},
    },
}
#: Pictures on a page, and the side of the part that it shows of each.
SHOWN, SIDE = {"cifar10": 8, "photos": 2}, {"cifar10": 32, "photos": 128}
#: Steps by which a recipe is timed where nothing else runs.
TIMED = 60
HEADER = (
    f"{'recipe':22} {'PSNR, dB':>9} {'to plain':>9} {'SSIM':>6} {'perplexity':>11} {'codes':>6} "
    f"{'M params':>9} {'ms/step':>8} {'seconds':>8}"
)


def recipes_of(dataset: str, steps: int) -> dict[str, dict[str, Settings]]:
    """By group and name, the settings that are laid over the base."""
    return {
        "losses": losses(steps // 4),
        "networks": NETWORKS[dataset],
        "codebooks": codebooks(steps // 4),
    }


def all_of(groups: Mapping[str, dict[str, Settings]]) -> dict[str, Settings]:
    """The recipes of all groups by name, and the base as it is."""
    return {PLAIN: {}} | {k: v for group in groups.values() for k, v in group.items()}


def losses(start: int) -> dict[str, Settings]:
    """Losses in place of the mean squared error; the discriminator's begins at a step."""
    perceptual = {"weights": "random", "network": "squeeze", "weight": 0.1}  # an untrained network
    adversarial = {"weight": 0.1, "start": start, "channels": 32}
    return {
        "l1": {"losses": {"l1": {}}},
        "mse, ssim": {"losses": {"mse": {}, "ssim": {"weight": 0.1}}},
        "mse, perceptual": {"losses": {"mse": {}, "perceptual": perceptual}},
        "mse, adversarial": {"losses": {"mse": {}, "adversarial": adversarial}},
        "l1, both": {"losses": {"l1": {}, "perceptual": perceptual, "adversarial": adversarial}},
    }


def codebooks(start: int) -> dict[str, Settings]:
    """Quantizers, estimators and what goes with them; late quantization begins at a step."""
    gradient_alone = {"name": "codebook", "codebook_weight": 0, "commitment_weight": 0}
    return {
        "ema": {"quantizer": "ema"},
        "simvq": {"quantizer": "simvq"},
        "fsq": {"quantizer": "fsq"},
        "lfq": {"quantizer": "lfq"},
        "rotation": {"estimator": "rotation"},
        "ibq": {"estimator": "index-backpropagation"},
        "diveq": {"estimator": "diveq", "quantizer": gradient_alone},
        "drift": {"quantizer": {"name": "codebook", "drift": 1}},
        "late": {"quantize_start": start},
    }


@dataclass(frozen=True)
class Job:
    """One training."""

    recipe: str
    seed: int
    base: Settings
    settings: Settings
    shown: int
    until: float = math.inf


@dataclass(frozen=True)
class Row:
    """What came of a job: metrics and pictures, or an error."""

    recipe: str
    seed: int
    settings: Settings
    metrics: dict[str, float]
    error: str = ""
    pictures: np.ndarray | None = None


class Clock:
    """A callback that times steps: by CPU time, or on a GPU until its work is done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def vq_step_end(self, run: Any) -> None:
        """Note the time."""
        if run.device.type == "cuda":
            torch.cuda.synchronize()
            self.times.append(time.perf_counter())
        else:
            self.times.append(time.process_time())

    def median(self) -> float:
        """Milliseconds of a step, without the first third of them, which starts things."""
        times = self.times[len(self.times) // 3 :]
        return 1e3 * statistics.median(np.diff(times)) if len(times) > 1 else math.nan


def train(job: Job) -> Row:
    """Train and evaluate one recipe."""
    clock = Clock()
    try:
        if time.time() > job.until:
            raise TimeoutError("not begun: --seconds are over")
        with TemporaryDirectory() as folder:
            run = vq.train(
                config=job.base, settings=job.settings, seed=job.seed,
                run_dir=f"{folder}/run", callbacks=[clock],
            )  # fmt: skip
            metrics = measured(run) | {"ms_per_step": clock.median()}
            shown = pictures(run, job.shown)
    except Exception as error:  # a component that is not installed, for one
        text = f"{type(error).__name__}: {error}"
        return Row(job.recipe, job.seed, job.settings, {}, error=text)
    return Row(job.recipe, job.seed, job.settings, metrics, pictures=shown)


def measured(run: vq.TrainedRun) -> dict[str, float]:
    """Held-out metrics, and how large and how slow it is."""
    found = vq.evaluate(run) | run.metrics | {"parameters": run.model.parameter_count}
    names = ("psnr", "ssim", "perplexity", "codes_used", "parameters", "seconds")
    return {name: found.get(name, math.nan) for name in (*names, "index_bits_per_pixel")}


def pictures(run: vq.TrainedRun, count: int) -> np.ndarray:
    """Held-out pictures and their reconstructions, uint8 (2, count, H, W, 3)."""
    (batch,) = run.source.split("test").batches([torch.arange(count)], run.device)
    low, high = run.samples.value_range
    both = (torch.stack([batch, run.model.reconstruct(batch)]) - low) / (high - low)
    return (both * 255).round().clamp(0, 255).byte().permute(0, 1, 3, 4, 2).cpu().numpy()


def decoded(file: Path) -> np.ndarray:
    """A picture, uint8 (H, W, 3)."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def packed(root: Path, folder: Path, held_out: int, pool: ProcessPoolExecutor) -> Settings:
    """Folders of pictures as two arrays that all processes map; decoding files takes longer."""
    for split, most in (("train", None), ("test", held_out)):
        files = sorted(path for path in (root / split).rglob("*") if path.is_file())
        chosen = np.random.default_rng(0).permutation(len(files))[:most]
        images = list(pool.map(decoded, [files[i] for i in chosen], chunksize=500))
        np.save(folder / f"{split}.npy", np.stack(images))
    return {"name": "arrays", "root": str(folder)}


def mean(rows: Sequence[Row], name: str) -> float:
    """Of a metric, over the seeds."""
    return statistics.mean(row.metrics[name] for row in rows)


def line(name: str, rows: Sequence[Row], plain: float) -> str:
    """A line of the table."""
    good = [row for row in rows if not row.error]
    if not good:
        return f"{name:22} {rows[0].error.splitlines()[0]}"
    psnr, parameters = mean(good, "psnr"), mean(good, "parameters") / 1e6
    return (
        f"{name:22} {psnr:9.2f} {psnr - plain:+9.2f} {mean(good, 'ssim'):6.3f} "
        f"{mean(good, 'perplexity'):11.1f} {mean(good, 'codes_used'):6.0f} {parameters:9.2f} "
        f"{mean(good, 'ms_per_step'):8.2f} {mean(good, 'seconds'):8.1f}"
    )


def draw(path: Path, rows: Sequence[Row], side: int) -> None:
    """A page of pictures: originals, then what each recipe makes of them."""
    scale, left = max(1, 64 // side), 110
    step = side * scale + 2
    lines = [("original", rows[0].pictures[0])]
    lines += [(f"{row.recipe}\n{row.metrics['psnr']:.2f} dB", row.pictures[1]) for row in rows]
    size = (left + len(lines[0][1]) * step, len(lines) * step)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    for number, (label, images) in enumerate(lines):
        pen.multiline_text((4, number * step + step // 2 - 12), label, "black")
        for column, image in enumerate(images):
            top, start = ((each - side) // 2 for each in image.shape[:2])
            part = Image.fromarray(image[top : top + side, start : start + side])
            part = part.resize((side * scale, side * scale), Image.Resampling.NEAREST)
            page.paste(part, (left + column * step, number * step))
    page.save(path, optimize=True)


def write(out: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """All that is known so far, as JSON."""
    plain = [{k: v for k, v in asdict(row).items() if k != "pictures"} for row in rows]
    text = json.dumps({**about, "rows": plain}, indent=1)
    (out / "recipes.json").write_text(text, encoding="utf-8")


def machine(device: str) -> dict[str, Any]:
    """What it ran on."""
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name() if on_gpu else platform.machine()
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--dataset", choices=BASES, default="cifar10")
    parser.add_argument("--data", metavar="ROOT", help="folder with the folder cifar10")
    parser.add_argument("--held-out", type=int, default=2000, help="so many pictures of cifar10")
    parser.add_argument("--only", nargs="+", metavar="RECIPE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="no")
    parser.add_argument("--workers", type=int, default=1, help="processes that train at a time")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin none after them")
    parser.add_argument("--out", type=Path, default=Path("recipes"))
    return parser.parse_args()


def base_of(options: argparse.Namespace, folder: Path, pool: ProcessPoolExecutor) -> Settings:
    """What all recipes have in common, with the options of the command line."""
    base = dict(BASES[options.dataset], device=options.device, precision=options.precision)
    base |= dict.fromkeys(("max_steps", "eval_every"), options.steps)
    if options.dataset == "cifar10":
        root = Path(options.data) / "cifar10"
        base["dataset"] = packed(root, folder, options.held_out, pool)
    return base


def time_alone(jobs: Sequence[Job], rows: Sequence[Row], pool: ProcessPoolExecutor) -> None:
    """Replace the times of steps that others were trained beside."""
    for job in jobs:
        short = dict(job.base, max_steps=TIMED, eval_every=TIMED)
        found = pool.submit(train, replace(job, base=short)).result()
        for row in rows:
            if row.recipe == job.recipe and not (row.error or found.error):
                row.metrics["ms_per_step"] = found.metrics["ms_per_step"]


def report(groups: Mapping[str, Sequence[str]], rows: Sequence[Row], options: Any) -> None:
    """Print the tables and draw the pages."""
    plain = [row for row in rows if row.recipe == PLAIN and not row.error]
    reference = mean(plain, "psnr") if plain else math.nan
    for group, names in groups.items():
        if not names:
            continue
        print(
            f"\n{options.dataset}, {group}, {options.steps} steps, seeds {options.seeds}\n{HEADER}"
        )
        of = {name: [row for row in rows if row.recipe == name] for name in (PLAIN, *names)}
        for name, found in of.items():
            print(line(name, found, reference))
        first = [next((row for row in found if not row.error), None) for found in of.values()]
        if any(first):
            path = options.out / f"{options.dataset}-{group}.png"
            draw(path, [row for row in first if row], SIDE[options.dataset])


def main() -> None:
    """Train every recipe with every seed, and write what came of them."""
    options = arguments()
    groups = recipes_of(options.dataset, options.steps)
    recipes = all_of(groups)
    asked = options.only or recipes
    if unknown := set(asked) - set(recipes):
        raise SystemExit(f"--only {', '.join(unknown)}: expected some of {', '.join(recipes)}")
    if options.dataset == "cifar10" and options.data is None:
        raise SystemExit("cifar10: give the folder of its files with --data, or --dataset photos")
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    until, shown = time.time() + options.seconds, SHOWN[options.dataset]
    about = machine(options.device) | {"options": {k: str(v) for k, v in vars(options).items()}}
    rows: list[Row] = []
    pool = ProcessPoolExecutor(options.workers, mp_context=get_context("spawn"))
    with TemporaryDirectory() as folder, pool:
        base = base_of(options, Path(folder), pool)
        jobs = [
            Job(name, seed, base, recipes[name], shown, until)
            for seed in options.seeds
            for name in dict.fromkeys((PLAIN, *asked))
        ]
        for done in as_completed([pool.submit(train, job) for job in jobs]):
            rows.append(done.result())
            print(f"{len(rows)}/{len(jobs)} {rows[-1].recipe} {rows[-1].error}", flush=True)
            write(options.out, rows, about)
        if options.workers > 1:
            timed = all_of(recipes_of(options.dataset, TIMED))  # what starts late starts earlier
            first = [job for job in jobs if job.seed == options.seeds[0]]
            time_alone([replace(job, settings=timed[job.recipe]) for job in first], rows, pool)
    write(options.out, rows, about)
    report(
        {name: [each for each in group if each in asked] for name, group in groups.items()},
        rows,
        options,
    )


if __name__ == "__main__":
    main()
