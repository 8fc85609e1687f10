"""Measures what the project does on a GPU: first whether it is right, then how fast it is.

    uv run python benchmarks/gpu.py [--only PART ...] [--out gpu.json] [--seconds 240]
    uv run python benchmarks/gpu.py --device cpu --small  # tries the script itself

What must be right is checked in several processes at once; then times are taken, with nothing
beside them, as medians of interleaved repeats (A B A B ...). A part that fails is reported, and the
next one starts. The file holds all rows, and what is too long for the table, after each part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

os.environ.setdefault("VQ_DISABLE_PLUGINS", "vq-report")  # plots of a run take longer than it does

import torch
from gpu_checks import CHECKS, Found, Job, checked
from quantizer import HEADER, PEER, Row, both, our_layer, their_layer
from torch import Tensor, nn

import vq
from vqcore import VectorQuantizer

#: Processes that check at once; each has a CUDA context and compiles kernels of its own.
MOST_PROCESSES = 12
#: Share of the time that is left to the times, whatever the checks have reached.
CHECKS_END = 0.6
#: Calls between two looks at the clock.
CALLS = 5


@dataclass
class Bench:
    """The machine, the time that is left, and what has been found."""

    device: torch.device
    small: bool
    seconds: float
    out: Path | None
    began: float = field(default_factory=time.monotonic)
    parts: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.began + self.seconds - time.monotonic()

    def wait(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers on the device."""
        return torch.randn(*shape, device=self.device)

    def medians(self, repeats: int, *functions: Callable[[], object]) -> list[float]:
        """Median seconds of a call of each function, called in turn after three warm-up rounds."""
        taken: list[list[float]] = [[] for _ in functions]
        repeats, calls = (1, 1) if self.small else (repeats, CALLS)
        for repeat in range(-min(repeats, 3), repeats):
            for function, seconds in zip(functions, taken, strict=True):
                self.wait()
                start = time.perf_counter()
                for _ in range(calls):
                    function()
                self.wait()
                if repeat >= 0:
                    seconds.append((time.perf_counter() - start) / calls)
        return [statistics.median(seconds) for seconds in taken]

    def peak(self, function: Callable[[], object]) -> float:
        """MB that the device's memory grows by at most during a call; 0 on a CPU."""
        if not self.cuda:
            function()
            return 0.0
        self.wait()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        self.wait()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def save(self) -> None:
        """Write what has been found so far."""
        if self.out is not None:
            name = torch.cuda.get_device_name() if self.cuda else "cpu"
            found = {"device": name, "torch": torch.__version__, "parts": self.parts}
            text = json.dumps({**found, "notes": self.notes}, indent=1)
            self.out.write_text(text, encoding="utf-8")


# -- what must be right -----------------------------------------------------


def check(bench: Bench, names: list[str]) -> Iterator[tuple[str, Row]]:
    """Rows of the checks with these names: all their jobs in one pool, the longest first."""
    jobs = [Job(name, case) for name in names for case in CHECKS[name].cases()]
    if bench.small:
        jobs = jobs[:: len(jobs) // 12]
    found: dict[str, list[Found]] = {name: [] for name in names}
    workers = min(MOST_PROCESSES, os.cpu_count() or 1, len(jobs))
    until = CHECKS_END * bench.seconds
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        results = pool.imap_unordered(partial(checked, str(bench.device)), jobs)
        for _ in jobs:
            try:
                result = results.next(timeout=max(0.1, bench.left - until))
            except multiprocessing.TimeoutError:
                break
            found[result.job.check].append(result)
    for name in names:
        count = sum(job.check == name for job in jobs)
        if count:
            yield from ((name, row) for row in CHECKS[name].rows(found[name], count))


# -- what the GPU does ------------------------------------------------------


class Profile:
    """The kernels and copies on the GPU inside a ``with`` block; on a CPU all operators."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        kinds = torch.profiler.ProfilerActivity
        activity = kinds.CUDA if self._on_gpu else kinds.CPU
        self._profile = torch.profiler.profile(activities=[activity])
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def __enter__(self) -> Self:
        self._wait()
        self._profile.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._wait()
        self._profile.__exit__(None, None, None)
        kinds = torch.autograd.DeviceType
        wanted = kinds.CUDA if self._on_gpu else kinds.CPU
        for event in self._profile.events():
            if event.device_type == wanted and not event.is_user_annotation:
                self._seconds[event.name].append(event.time_range.elapsed_us() / 1e6)

    @property
    def launches(self) -> int:
        """Their number."""
        return sum(len(each) for each in self._seconds.values())

    @property
    def busy(self) -> float:
        """Seconds that they take."""
        return sum(sum(each) for each in self._seconds.values())

    def table(self, steps: int) -> list[str]:
        """The kernels that take longest: milliseconds and launches a step, and their name."""
        rows = sorted(self._seconds.items(), key=lambda item: -sum(item[1]))
        return [
            f"{1e3 * sum(taken) / steps:8.3f} ms {len(taken) / steps:6.1f}  {name[:120]}"
            for name, taken in rows[:25]
        ]

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()


# -- the search -------------------------------------------------------------


def search(bench: Bench) -> Iterator[Row]:
    """The search against one product and ``argmin``, and against its arithmetic alone."""
    flat = VectorQuantizer(dim=4, codebook_size=4).manifold
    rates = {dtype: _rate(bench, dtype) for dtype in (torch.float16, torch.float32)}
    fast, plain = (rate / 1e12 for rate in rates.values())
    detail = f"{fast:.0f} against {plain:.0f} TFLOP/s"
    yield Row("a product's rate, float16", "float32", fast / plain, detail)
    sizes = ((1 << 20, 8192, 64, 3), (1 << 17, 1024, 256, 2), (1 << 16, 1 << 16, 32, 2))
    others = ((1 << 20, 1024, 8, None), (1 << 16, 8192, 512, None), (1 << 15, 512, 64, None))
    for n, k, d, bound in (*sizes, *others):
        n, k = (2048, 256) if bench.small else (n, k)
        x, codes = bench.normal(n, d), bench.normal(k, d)
        weight, bias = -2 * codes, codes.square().sum(1)
        runs = (partial(flat.nearest, x, codes), partial(_product, x, weight, bias))
        ours, product = bench.medians(5, *runs)
        what = f"search, N={n} K={k} D={d}"
        yield Row(what, "addmm, argmin", product / ours, both(ours, product), at_least=bound)
        limit = 3 * 2 * n * k * d / rates[torch.float16]
        yield Row("  its time", "three float16 products", ours / limit, both(ours, limit))
        growth = [bench.peak(run) for run in runs]
        detail = "{:,.0f} MB against {:,.0f} MB".format(*growth)
        yield Row("  its memory", "addmm, argmin", growth[0] / max(growth[1], 1), detail)


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight.T).argmin(1)


def _rate(bench: Bench, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large product, without TF32."""
    size = 256 if bench.small else 8192
    a, b = (bench.normal(size, size).to(dtype) for _ in range(2))
    (seconds,) = bench.medians(5, partial(torch.mm, a, b))
    return 2 * size**3 / seconds


# -- the layer --------------------------------------------------------------

#: K, D and N of the layers.
SIZES = ((1024, 256, 1 << 15), (512, 64, 1 << 15), (16384, 8, 1 << 16))


def layer(bench: Bench) -> Iterator[Row]:
    """Training steps of the layer: against a peer, compiled, and as a CUDA graph."""
    for k, d, n in SIZES:
        k, d, n = (64, 8, 256) if bench.small else (k, d, n)
        z = bench.normal(1, n, d)
        built = our_layer(d, k).to(bench.device)
        ours, what = _step(built, z), f"step, EMA, K={k} D={d} N={z.shape[1]}"
        yield from _guarded(what, PEER, partial(_against_peer, bench, ours, what, z, k, d))
        if k == 1024:  # the compiler takes half a minute
            run = partial(_compiled, bench, built, ours, what, z)
            yield from _guarded(f"{what}, compiled", "eager", run)
        for options in (
            {"quantizer": "codebook"},
            {"quantizer": "ema", "manifold": "poincare"},
            {"quantizer": "codebook", "manifold": "lorentz"},
            {"quantizer": {"name": "residual", "stages": 4, "inner": "ema"}},
        ):
            name = " ".join(_name(value) for value in options.values())
            other = VectorQuantizer(dim=d, codebook_size=k, **options).to(bench.device)
            run = partial(_against, bench, _step(other, z), ours, f"  {name}")
            yield from _guarded(f"  {name}", "EMA", run)


def _step(layer: nn.Module, z: Tensor, update: Callable[[], None] | None = None) -> Callable:
    """Forward, backward and update, on latents that are a leaf."""
    z = z.detach().clone().requires_grad_()
    parameters = list(layer.parameters())
    update = layer.update if update is None else update

    def step() -> None:
        for leaf in (z, *parameters):
            leaf.grad = None
        out = layer(z)
        (out.quantized.sum() + out.loss).backward()
        update()

    return step


def _peer_step(layer: nn.Module, z: Tensor) -> Callable[[], None]:
    z = z.detach().clone().requires_grad_()

    def step() -> None:
        z.grad = None
        quantized, _, loss = layer(z)
        (quantized.sum() + loss.sum()).backward()

    return step


def _against_peer(
    bench: Bench, ours: Callable, what: str, z: Tensor, k: int, d: int
) -> Iterator[Row]:
    theirs = _peer_step(their_layer(d, k).to(bench.device), z)
    fast, slow = bench.medians(7, ours, theirs)
    detail = f"{both(fast, slow)}, {_kernels(bench, ours)} and {_kernels(bench, theirs)} kernels"
    yield Row(what, PEER, slow / fast, detail)
    memory = [bench.peak(run) for run in (ours, theirs)]
    detail = "{:,.0f} MB against {:,.0f} MB".format(*memory)
    yield Row("  its memory", PEER, memory[0] / max(memory[1], 1), detail)


def _against(bench: Bench, step: Callable, reference: Callable, what: str) -> Iterator[Row]:
    ours, other = bench.medians(5, step, reference)
    yield Row(what, "EMA", ours / other, f"{both(ours, other)}, {_kernels(bench, step)} kernels")


def _compiled(
    bench: Bench, layer: nn.Module, eager: Callable, what: str, z: Tensor
) -> Iterator[Row]:
    step = _step(torch.compile(layer, fullgraph=True), z, layer.update)
    fast, slow = bench.medians(5, step, eager)
    detail = f"{both(fast, slow)}, {_kernels(bench, step)} kernels"
    yield Row(f"{what}, compiled", "eager", slow / fast, detail)


def graphs(bench: Bench) -> Iterator[Row]:
    """Training steps as CUDA graphs, last: a capture that fails may leave the device unusable."""
    for k, d, n in SIZES:
        k, d, n = (64, 8, 256) if bench.small else (k, d, n)
        z = bench.normal(1, n, d)
        for options in ({"quantizer": "ema"}, {"quantizer": "codebook", "manifold": "poincare"}):
            what = f"graph, {' '.join(options.values())}, K={k} D={d} N={n}"
            built = VectorQuantizer(dim=d, codebook_size=k, **options).to(bench.device)
            run = partial(_graph, bench, _step(built, z), what, z, k)
            yield from _guarded(what, "eager", run)


def _graph(bench: Bench, step: Callable[[], None], what: str, z: Tensor, k: int) -> Iterator[Row]:
    if bench.cuda:
        theirs = _peer_step(their_layer(z.shape[-1], k).to(bench.device), z)
        fast, slow, peer = bench.medians(5, captured(step), step, theirs)
        yield Row(what, "eager", slow / fast, both(fast, slow))
        yield Row("", f"{PEER}, eager", peer / fast, both(fast, peer))


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph, captured once the codes have started and been checked."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(11):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _kernels(bench: Bench, step: Callable[[], None]) -> int:
    """Kernels and copies that a step launches."""
    with Profile(bench.device) as profile:
        step()
    return profile.launches


def _name(choice: Any) -> str:
    return "-".join(str(value) for value in choice.values()) if isinstance(choice, dict) else choice


def _guarded(what: str, against: str, rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows, or one that says how they failed."""
    try:
        yield from rows()
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        yield failed(what, against, cause[:200])


def failed(what: str, against: str, cause: str) -> Row:
    """A row without a number, whose bound is missed."""
    return Row(what, against, float("nan"), cause, at_least=0)


# -- kernels of a step ------------------------------------------------------

#: Components whose launches are counted, on 4,096 latents with K=512 D=64.
COUNTED: list[dict[str, Any]] = [
    *({"quantizer": name} for name in ("ema", "simvq", "random-projection", "grouped", "residual")),
    *({"quantizer": name} for name in ("fsq", "lfq", "bsq")),
    *({"manifold": name} for name in ("euclidean", "sphere", "poincare", "lorentz")),
    {"quantizer": {"name": "residual", "stages": 4}, "manifold": "lorentz"},
    *({"estimator": name} for name in ("rotation", "transport", "noise-substitution", "gumbel")),
    *({"regularizers": [name]} for name in ("entropy", "orthogonal", "homology")),
]


def kernels(bench: Bench) -> Iterator[Row]:
    """Kernels and copies of a layer's training step, by component."""
    for options in COUNTED:
        name = " ".join(_name(v[0] if isinstance(v, list) else v) for v in options.values())
        yield from _guarded(f"kernels, {name}", "one", partial(_counted, bench, options, name))


def _counted(bench: Bench, options: dict[str, Any], name: str) -> Iterator[Row]:
    built = VectorQuantizer(dim=64, codebook_size=512, **options)
    step = _step(built.to(bench.device), bench.normal(4096, 64))
    for _ in range(3):
        step()
    (seconds,) = bench.medians(3, step)
    with Profile(bench.device) as profile:
        step()
    detail = f"{1e3 * seconds:.2f} ms a step, the GPU busy for {1e3 * profile.busy:.2f} ms of it"
    bench.notes[f"kernels, {name}"] = profile.table(1)
    yield Row(f"kernels, {name}", "one", profile.launches, detail)


# -- training ---------------------------------------------------------------

README = {"manifold": "poincare", "regularizers": ["homology"]}
LARGE = {"dataset": "arrays", "backbone.hidden": 128, "dim": 256, "batch_size": 512}
EMA = {**LARGE, "quantizer": "ema", "codebook_size": 1024}
NONE = {**LARGE, "bottleneck": "none"}
HALF = {"precision": "bf16"}
GRAPH = HALF | {"cuda_graph": True}
BOTH = GRAPH | {"compile": True}
#: The settings of each run.
RUNS: dict[str, dict[str, Any]] = {
    "the README's first": README,
    "float32": EMA,
    "tf32": EMA | {"precision": "tf32"},
    "bf16": EMA | HALF,
    "bf16, graph": EMA | GRAPH,
    "bf16, graph, no quantizer": NONE | GRAPH,
    "bf16, graph, homology": EMA | GRAPH | {"regularizers": ["homology"]},
    "bf16, graph, poincare": EMA | GRAPH | {"manifold": "poincare"},
    "bf16, graph, compiled": EMA | BOTH,
    "bf16, graph, compiled, no quantizer": NONE | BOTH,
}
#: Runs that others are compared with, and the largest ratio of their steps.
AGAINST = {
    "bf16, graph, homology": ("bf16, graph", 1.1),
    "bf16, graph": ("bf16, graph, no quantizer", 1.1),
    "bf16, graph, poincare": ("bf16, graph", 1.3),
    "bf16, graph, compiled": ("bf16, graph, compiled, no quantizer", 1.1),
}


class Watch:
    """A callback that profiles some of a run's steps, after those whose speed is taken."""

    def __init__(self, device: torch.device, first: int, steps: int) -> None:
        self.profile = Profile(device)
        self._first, self.steps = first, steps

    def vq_step_end(self, run: Any, step: int) -> None:
        """Start before the first of the steps, stop after the last."""
        if step == self._first:
            self.profile.__enter__()
        elif step == self._first + self.steps:
            self.profile.__exit__()


def train(bench: Bench) -> Iterator[Row]:
    """Images a second of training on images of 32x32, and of the README's first command."""
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = _pictures(Path(folder), 1024 if bench.small else 50_000)
        for name, settings in RUNS.items():
            if "dataset" in settings:
                settings = {**settings, "dataset.root": str(root)}
            if bench.left < 12:
                yield failed(f"train, {name}", "", "no time left")
                continue
            run = partial(_trained, bench, rates, name, settings, Path(folder))
            yield from _guarded(f"train, {name}", "200,000 images/s", run)
    for name, (reference, bound) in AGAINST.items():
        if name in rates and reference in rates:
            ratio = rates[reference] / rates[name]
            detail = f"{rates[name]:,.0f} against {rates[reference]:,.0f} images/s"
            yield Row(f"a step, {name}", reference, ratio, detail, at_most=bound)


def _pictures(folder: Path, count: int) -> Path:
    import numpy as np

    numbers = np.random.default_rng(0)
    shapes = {"train": (count, 3, 32, 32), "test": (256, 3, 32, 32)}
    arrays = {k: numbers.integers(0, 256, shape, dtype=np.uint8) for k, shape in shapes.items()}
    np.savez(folder / "pictures.npz", **arrays)
    return folder / "pictures.npz"


def _trained(
    bench: Bench, rates: dict[str, float], name: str, settings: dict[str, Any], folder: Path
) -> Iterator[Row]:
    """Train, and take the median speed of the lines after the first two."""
    steps, line = (16, 4) if bench.small else (400, 50)
    rare = {f"{each}_every": 10**6 for each in ("eval", "sample", "checkpoint")}
    small = {"batch_size": 32, "backbone.hidden": 8} if bench.small else {}
    settings = {**settings, **rare, **small, "log_every": line, "max_steps": steps}
    watch = Watch(bench.device, steps - line + 1, line // 2)
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    run = vq.train(
        settings=settings | {"device": str(bench.device)},
        run_dir=folder / str(len(bench.notes)),
        callbacks=[watch],
    )
    seconds = time.perf_counter() - began
    lines = [each for each in run.history if "images_per_second" in each]
    rates[name] = rate = statistics.median(each["images_per_second"] for each in lines[2:-1])
    memory = torch.cuda.max_memory_allocated() / 2**30 if bench.cuda else 0.0
    step = 1e3 * run.config.settings.batch_size / rate
    bench.notes[f"profile of {name}"] = watch.profile.table(watch.steps)
    busy, launches = 1e3 * watch.profile.busy / watch.steps, watch.profile.launches / watch.steps
    detail = (
        f"{rate:,.0f} images/s, {step:.2f} ms a step, GPU busy {busy:.2f} ms in {launches:.0f} "
        f"kernels, {memory:.1f} GB, {seconds:.0f} s in all"
    )
    bound = {"at_least": 1.0} if name == "bf16, graph, compiled" else {}
    yield Row(f"train, {name}", "200,000 images/s", rate / 2e5, detail, **bound)


# -- the command ------------------------------------------------------------

TIMES = {"search": search, "layer": layer, "train": train, "kernels": kernels, "graphs": graphs}


def main() -> None:
    """Check, measure, and print a line per comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*CHECKS, *TIMES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    options = parser.parse_args()
    bench = Bench(torch.device(options.device), options.small, options.seconds, options.out)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    print(HEADER)
    checks = [name for name in options.only if name in CHECKS]
    missed = 0
    if checks:
        missed += report(bench, ((name, row) for name, row in check(bench, checks)))
    for name in [name for name in options.only if name in TIMES]:
        missed += report(bench, zip(itertools.repeat(name), part(bench, name)))
    print(
        f"{missed} not reached" if missed else "all reached",
        f"in {bench.seconds - bench.left:.0f} s",
    )


def part(bench: Bench, name: str) -> Iterator[Row]:
    """The rows of a part that takes times."""
    if bench.left < 5:
        yield failed(name, "", "no time left")
        return
    yield from TIMES[name](bench)


def report(bench: Bench, rows: Iterator[tuple[str, Row]]) -> int:
    """Print and save rows as they come; returns how many bounds are missed."""
    missed = 0
    try:
        for name, row in rows:
            entry = {**asdict(row), "passed": row.passed}
            entry["ratio"] = None if math.isnan(row.ratio) else row.ratio  # JSON has no NaN
            bench.parts.setdefault(name, []).append(entry)
            bench.save()
            missed += not row.passed
            print(row, flush=True)
    except Exception:
        bench.notes["failed"] = traceback.format_exc().splitlines()
        bench.save()
        traceback.print_exc()
        missed += 1
    return missed


if __name__ == "__main__":
    main()
