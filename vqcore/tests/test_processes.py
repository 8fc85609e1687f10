"""Two processes that were seeded apart hold the same codebook, as if one process had seen both shards."""

import subprocess
import sys

import torch
import torch.distributed as dist

from vqcore import VectorQuantizer


def train(rank, world, port, folder):
    """One rank's part, or the whole where ``world`` is 1."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.manual_seed(0)
    layer = VectorQuantizer(dim=4, codebook_size=16, quantizer={"name": "ema", "decay": 0.8, "usage_decay": 0.5})
    layer.quantizer.seed += rank  # as when every rank draws a seed of its own
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        batch = torch.randn(60, 4, generator=generator)
        layer(batch[:45] if rank == 0 and world > 1 else batch[45:] if world > 1 else batch)
        layer.update()
    torch.save(layer.codebook, f"{folder}/{world}-{rank}.pt")
    if world > 1:
        dist.destroy_process_group()


def test_two_processes_learn_what_one_does(tmp_path, unused_port):
    train(0, 1, unused_port, tmp_path)
    command = [sys.executable, __file__, "2", str(unused_port), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one, rtol=1e-6, atol=1e-6)


if __name__ == "__main__":
    processes, port, folder, number = sys.argv[1:]
    train(int(number), int(processes), int(port), folder)
