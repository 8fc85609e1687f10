"""What must be right on a GPU, in jobs that processes beside one another take: see ``gpu.py``."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from quantizer import Row, manifold
from torch import Tensor, nn

from vqcore import VectorQuantizer, default_registry
from vqcore.testing.waits import no_waits

#: Widths S of a search: around the sizes at which a kernel changes its tiles, up to the widest.
WIDTHS = (1024, 1000, 513, 512, 257, 256, 129, 128, 65, 64, 33, 32, 17, 16, 15, 8, 5, 3, 2, 1)
#: A code's score may exceed the least by this, relative to the length of the query and a weight.
ROUNDING = 2e-6
#: A code's squared distance may exceed the least by this, relative to 1 plus the distance.
EXCESS = 1e-4
#: Training steps under watch: dead codes are checked on two of them.
STEPS = 21


@dataclass(frozen=True)
class Job:
    """One case of a check."""

    check: str
    case: tuple[Any, ...]

    def __str__(self) -> str:
        return " / ".join(map(str, self.case))


@dataclass(frozen=True)
class Found:
    """What a job found: numbers by name, or how it failed."""

    job: Job
    numbers: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Check:
    """The cases of a check, what is done with each, and the bounds of the numbers it returns."""

    what: str
    cases: Callable[[], Iterator[tuple[Any, ...]]]
    run: Callable[..., dict[str, float]]
    bounds: dict[str, float]

    def rows(self, found: list[Found], count: int) -> Iterator[Row]:
        """A row for all cases, one for each that failed, and one for each number's largest."""
        good = [each for each in found if not each.error]
        detail = f"{len(good)} of {count}"
        yield Row(self.what, "all cases", len(good) / count, detail, at_least=1)
        for each in found:
            if each.error:
                yield Row(f"  {each.job}", "no error", float("nan"), each.error, at_least=0)
        for name, bound in self.bounds.items():
            worst = max(good, key=lambda each, name=name: each.numbers[name], default=None)
            if worst is not None:
                largest = worst.numbers[name]
                yield Row(f"  {name}", "none", largest, f"most: {worst.job}", at_most=bound)


def checked(device: str, job: Job) -> Found:
    """Run a job in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        return Found(job, CHECKS[job.check].run(torch.device(device), *job.case))
    except Exception as error:
        return Found(job, error=f"{type(error).__name__}: {error}".replace("\n", " ")[:300])


# -- every combination ------------------------------------------------------


def combinations() -> Iterator[tuple[str, str, str]]:
    """Every manifold x quantizer x estimator."""
    names = default_registry().names
    return itertools.product(names("manifold"), names("quantizer"), names("estimator"))


def combination(device: torch.device, space: str, quantizer: str, estimator: str) -> dict:
    """Train in float32 and bf16, then compare the choices with the CPU's and with float64's."""
    options = {"manifold": space, "quantizer": quantizer, "estimator": estimator}
    layer = VectorQuantizer(dim=8, codebook_size=32, **options).to(device)
    for dtype in (torch.float32, torch.bfloat16):
        for _ in range(3):
            z = torch.randn(4, 64, 8, device=device, dtype=dtype, requires_grad=True)
            out = step(layer, z)
            if out.quantized.dtype != dtype or not finite(out.loss, z.grad):
                raise ArithmeticError(f"another type, or not finite, in {dtype}")
    z = torch.randn(512, 8, device=device)
    excess = max((_excess(each, layer) for each in layer.inspect(z).assignments), default=0.0)
    here = layer.eval().encode(z).cpu()
    there = layer.cpu().encode(z.cpu())
    # not the indices: a young residual codebook holds codes twice, between which rounding chooses
    ours, theirs = layer.decode(here), layer.decode(there)
    differ = ((ours - theirs).norm(dim=1).mean() / theirs.norm(dim=1).mean()).item()
    return {"vectors unlike the CPU's": differ, "excess distance": excess}


def step(layer: VectorQuantizer, z: Tensor, **extras: Any) -> Any:
    """Forward, backward and update."""
    out = layer(z, **extras)
    (out.quantized.float().square().mean() + out.loss).backward()
    layer.update()
    return out


def finite(*values: Tensor) -> bool:
    """Whether all numbers are."""
    return all(bool(value.isfinite().all()) for value in values)


def _excess(assignment: Any, layer: VectorQuantizer) -> float:
    """How much farther than the nearest the chosen codes are, in float64; 0 without a table."""
    if assignment.codebook is None:
        return 0.0
    space = copy.deepcopy(layer.manifold).cpu().double()
    z, codes = (x.detach().cpu().double() for x in (assignment.z, assignment.codebook))
    distances = space.pairwise_squared_dist(space.expmap0(z), codes)
    chosen = distances.gather(1, assignment.indices.cpu().unsqueeze(1)).squeeze(1)
    least = distances.amin(1)
    return ((chosen - least) / (1 + least)).max().item()


# -- the search -------------------------------------------------------------


def widths() -> Iterator[tuple[int]]:
    """Every width."""
    return ((width,) for width in WIDTHS)


def exact(device: torch.device, width: int) -> dict:
    """Compare the search with float64, and with the CPU's for ties and NaN."""
    flat = Uncentred()
    excess = 0.0
    for n, k in ((1000, 700), (70, 3000), (3000, 17)):
        x, codes = torch.randn(n, width), torch.randn(k, width)
        found = flat.nearest(x.to(device), codes.to(device)).cpu().unsqueeze(1)
        scores = codes.double().square().sum(1) - 2 * x.double() @ codes.double().T
        gap = scores.gather(1, found).squeeze(1) - scores.amin(1)
        scale = 2 * x.double().norm(dim=1) * codes.norm(dim=1).max() + codes.square().sum(1).max()
        excess = max(excess, (gap / scale).max().item())
    x, codes = (torch.randint(-3, 4, (n, width)).float() for n in (500, 150))
    codes = codes.repeat(3, 1)  # whole numbers, so that no score is rounded
    x[[3, 77]] = float("nan")
    x[9, width // 2] = float("nan")
    here, there = (flat.nearest(x.to(kind), codes.to(kind)).cpu() for kind in (device, "cpu"))
    wrong = (here != there).float().mean().item()
    return {"excess score": excess, "share of ties and NaN chosen otherwise": wrong}


class Uncentred(type(manifold("euclidean"))):  # type: ignore[misc]
    """Flat space whose search does not subtract the mean: whole numbers stay whole."""

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """X as it is."""
        return x

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """|x - c|^2 - |x|^2 = x . (-2c) + |c|^2."""
        return -2 * codes, codes.square().sum(-1)


# -- waits ------------------------------------------------------------------


def watched() -> Iterator[tuple[str, Any]]:
    """Every component once, and every quantizer on a curved space."""
    names = default_registry().names
    for quantizer, space in itertools.product(names("quantizer"), ("euclidean", "poincare")):
        yield (f"quantizer={quantizer}", {"quantizer": quantizer, "manifold": space})
    for kind in ("manifold", "estimator"):
        yield from ((f"{kind}={name}", {kind: name}) for name in names(kind))
    yield from ((f"regularizer={n}", {"regularizers": [n]}) for n in names("regularizer"))
    kmeans = {"name": "ema", "init": "kmeans"}
    yield ("quantizer=ema kmeans", {"quantizer": kmeans})
    on_codes = {"homology": {"points": "codebook"}}
    yield ("homology of the codebook", {"regularizers": on_codes})


def waits(device: torch.device, what: str, options: dict[str, Any]) -> dict:
    """Train, encode, decode and look up where nothing may wait for the GPU."""
    layer = VectorQuantizer(dim=8, codebook_size=32, **options).to(device)
    decoder = nn.Linear(8, 8).to(device)
    batches = [torch.randn(16, 16, 8, device=device, requires_grad=True) for _ in range(STEPS + 3)]
    for z in batches[:3]:
        step(layer, z, inputs=z, decode=decoder)
    try:
        with no_waits("a step"):
            for z in batches[3:]:
                step(layer, z, inputs=z, decode=decoder)
        with no_waits("encode"):
            indices = layer.eval().encode(batches[0])
        with no_waits("decode or lookup"):
            layer.decode(indices)
            layer.lookup(indices)
    except RuntimeError as error:  # of a GPU; where there is none, the lines are named
        raise RuntimeError(where(error)) from error
    return {}


def where(error: Exception) -> str:
    """The lines of this project that led to an error, and the error."""
    trace, places = error.__traceback__, []
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/vq" in name and "/benchmarks/" not in name:
            places.append(f"{name.rpartition('/vq')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{' > '.join(places[-3:])}: {error}"


#: By name, those with the longest jobs first.
CHECKS = {
    "exact": Check(
        "searches of widths 1 to 1024", widths, exact,
        {"excess score": ROUNDING, "share of ties and NaN chosen otherwise": 0},
    ),
    "waits": Check("steps, encode, decode without a wait", watched, waits, {}),
    "combinations": Check(
        "combinations train in float32 and bf16", combinations, combination,
        {"vectors unlike the CPU's": 0.005, "excess distance": EXCESS},
    ),
}  # fmt: skip
