"""Two processes with uneven shards have the cloud, the term and the gradient of a single one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from vqcore import VectorQuantizer
from vqcore.interfaces.latent_batch import LatentBatch

DIM, CODES, BATCH = 4, 16, 48
#: Tokens of the first of two ranks in each step: uneven and empty shards, in the first step too.
SHARDS = [0, 31, 48, 24, 1, 0, 47]
LOOPS = {"h1_weight": 0.5, "h1_total_weight": 0.5, "h0_entropy_weight": 1.0, "backend": "gudhi"}
CASES = {
    "latents": {"max_points": 20, **LOOPS},
    "latents-all": {"h0_form": "mean", "h0_target": 3.0},
    "quantized": {"points": "quantized", "h0_target": 3.0, "max_points": 9, **LOOPS},
    "quantized-implicit": {"points": "codebook", "h0_target": 3.0},
    "codebook": {"points": "codebook", "h0_target": 3.0, **LOOPS},
    "alone": {"gather": False},
    "usage": {"strength": "entropy-ratio", "period": 2},
    "paper": {"strength": "entropy-ratio", "period": 2, "entropy": "paper"},
}
#: Ranks' losses are weighted equally, or by their tokens.
WEIGHTS = ["equal", "tokens"]


def build(case):
    torch.manual_seed(0)
    encoder = torch.nn.Linear(6, DIM)
    quantizer = "fsq" if case == "quantized-implicit" else "codebook"
    layer = VectorQuantizer(
        dim=DIM,
        codebook_size=CODES,
        quantizer=quantizer,
        manifold={"name": "sphere", "learn_curvature": True} if case == "latents" else "euclidean",
        regularizers={"homology": {"weight": 1.0, **CASES[case]}},
    )
    return torch.nn.ModuleList([encoder, layer]).double()


def train(case, weights, rank, world, model):
    """Train on a rank's shards, or on all data: terms and parameters by step, and the state."""
    encoder, layer = model
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    terms, parameters = [], []
    for split in SHARDS:
        batch = torch.randn(BATCH, 6, generator=generator, dtype=torch.float64) * torch.linspace(
            0.2, 2, 6
        )
        shards = [batch] if world == 1 else [batch[:split], batch[split:]]
        mine = shards[rank]
        term = layer(encoder(mine), inputs=mine).losses["homology"]
        optimizer.zero_grad()
        (term * (1 / world if weights == "equal" else len(mine) / BATCH)).backward()
        for parameter in model.parameters() if world > 1 else ():
            parameter.grad = (
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            )
            dist.all_reduce(parameter.grad)
        optimizer.step()
        layer.update(optimizer)
        terms.append(term.detach())
        parameters.append(
            torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        )
    states = {name: value for name, value in layer.state_dict().items() if "homology" in name}
    if rank == 0:  # on one rank alone: a collective in eval would hang here
        evaluate(layer.eval(), encoder(batch), batch)
    return torch.stack(terms), torch.stack(parameters), states


def evaluate(layer, z, inputs):
    """The regularizer's value in eval, where the layer does not evaluate it."""
    layer(z, inputs=inputs)
    assignment = layer.inspect(z).assignments[0]
    batch = LatentBatch(
        assignment.z,
        assignment.z_q,
        assignment.indices,
        assignment.codebook,
        layer.manifold,
        layer.step,
        assignment.mask,
        inputs,
        codebook_size=len(assignment.counts),
    )
    return layer.regularizers["homology"](batch)


def main(rank, world, folder):
    """All cases in one pair of processes, since starting one takes longer than running them."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    found = {
        f"{case}-{how}": train(case, how, rank, world, build(case))
        for case in CASES
        for how in WEIGHTS
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Terms, parameters and state of each case, of each of two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, __file__]
    processes = [subprocess.Popen([*command, str(rank), "2", str(folder)]) for rank in range(2)]
    assert [process.wait(timeout=3600) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("case", [case for case in CASES if case != "alone"])
def test_two_processes_train_like_one(case, weights, ranks):
    terms, parameters, state = train(case, weights, 0, 1, build(case))
    (first, learnt, held), (second, also, too) = (rank[f"{case}-{weights}"] for rank in ranks)
    assert torch.equal(first, second)
    assert torch.equal(learnt, also)
    close(first, terms)
    close(learnt, parameters)
    assert (parameters[-1] - parameters[0]).abs().max() > 1e-3
    assert held.keys() == too.keys() == state.keys()
    for name, value in held.items():
        assert torch.equal(value, too[name]), name
        close(value, state[name])


def test_without_gathering_each_process_has_its_own_cloud(ranks):
    (first, learnt, _), (second, also, _) = (rank["alone-equal"] for rank in ranks)
    assert torch.equal(learnt, also)
    assert first[0] == 0 != second[0]  # the first step's shards: none, and all
    assert not torch.isclose(first[1:], second[1:], rtol=1e-3).any()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
