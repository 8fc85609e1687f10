"""Two processes hold the same codebook to the bit after every step, and that of one process."""

import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from vqcore import VectorQuantizer
from vqcore.codebook.usage_meter import UsageMeter

DIM, CODES, STEPS, BATCH = 4, 16, 24, 60
DEAD = {"dead_code_threshold": 0.5, "usage_decay": 0.5}  # so that each check replaces codes
CASES = {
    "ema": {"name": "ema", "decay": 0.8, **DEAD},
    "ema-kmeans": {"name": "ema", "decay": 0.8, "init": "kmeans", "drift": 0.5, **DEAD},
    "ema-least-recently-used": {
        "name": "ema",
        "dead_codes": "least-recently-used",
        "dead_code_patience": 1,
    },
    "ema-wrapped-normal": {"name": "ema", "decay": 0.8, "init": "wrapped-normal", **DEAD},
    "gradient": {"name": "codebook", "init": "kmeans", "lr_scale": 1, "drift": 1, **DEAD},
    "residual-dropout": {
        "name": "residual",
        "stages": 3,
        "stage_dropout": 0.5,
        "inner": {"name": "ema", **DEAD},
    },
    "grouped-shared": {
        "name": "grouped",
        "shared": True,
        "inner": {"name": "ema", "init": "normal", **DEAD},
    },
}
MANIFOLDS = {
    name: "poincare" if name in ("ema-wrapped-normal", "gradient") else "euclidean"
    for name in CASES
}
#: Tokens of the first of two ranks in each step: uneven and empty shards, in the first step too.
SHARDS = [0, 45, 60, 30, 1, 0, 59]


def build(case, rank=0):
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=DIM, codebook_size=CODES, quantizer=CASES[case], manifold=MANIFOLDS[case]
    )
    for module in layer.modules():
        if hasattr(module, "seed"):
            module.seed += rank  # as when every rank draws seeds of its own
    return layer


def train(case, rank, world, layer):
    """The codebook after each step and the metrics, of one rank or, with ``world`` 1, of all."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD([*layer.parameters(), torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    meter, codebooks = UsageMeter(), []
    for step in range(STEPS):
        batch = torch.randn(BATCH, DIM, generator=generator) * torch.linspace(0.2, 2, DIM)
        split = SHARDS[step % len(SHARDS)]
        mine = batch if world == 1 else batch[:split] if rank == 0 else batch[split:]
        out = layer(mine.requires_grad_())
        optimizer.zero_grad()
        # a rank's loss is a mean over its own tokens; the global mean weighs ranks by their tokens
        (out.loss * len(mine) / BATCH).backward()
        for parameter in layer.parameters() if world > 1 else ():
            parameter.grad = (
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            )
            dist.all_reduce(parameter.grad)
        optimizer.step()
        layer.update(optimizer)
        meter.add(out)
        codebooks.append(layer.codebook.detach().clone())
    layer.eval()
    if rank == 0:
        layer(batch[:3])  # on one rank alone: a collective in eval would hang here
    return torch.stack(codebooks), meter.close()


#: Layers built before the process group is up, and after.
EARLY, LATE = list(CASES)[::2], list(CASES)[1::2]


def main(rank, world, port, folder):
    """All cases in one pair of processes: starting one costs more than they do."""
    torch.set_num_threads(1)
    layers = {case: build(case, rank) for case in EARLY}
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    layers |= {case: build(case, rank) for case in LATE}
    torch.save(
        {case: train(case, rank, world, layers[case]) for case in CASES}, f"{folder}/{rank}.pt"
    )
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks held: case -> codebooks and metrics."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen([*command, str(rank), "2", str(port), str(folder)]) for rank in range(2)
    ]
    assert [process.wait(timeout=3600) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does(case, ranks):
    codebooks, metrics = train(case, 0, 1, build(case))
    (first, seen), (second, _) = (rank[case] for rank in ranks)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, codebooks, rtol=1e-6, atol=1e-6)
    for name, value in metrics.items():
        torch.testing.assert_close(seen[name], value, rtol=1e-5, atol=1e-6)
    assert metrics["replaced_codes"] > 0


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
