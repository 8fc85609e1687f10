"""The search: the right code, in tiles, whatever precision, graph or gradient surrounds it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from vqcore.plugin.registry import default_registry
from vqcore.search import affine, cpu, cuda

REGISTRY = default_registry()
MANIFOLDS = REGISTRY.names("manifold")


def build(name):
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


def test_search_is_the_argmin_of_the_affine_form():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    weight, bias = (
        torch.tensor([[-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]]),
        torch.tensor([0.0, 0.0, 0.5]),
    )
    assert affine.search(query, weight, bias).tolist() == [0, 1]


def test_a_tie_goes_to_the_lowest_index():
    assert affine.search(torch.ones(3, 2), torch.zeros(4, 2), torch.zeros(4)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 2, 17])
@pytest.mark.parametrize(
    ("n", "k"),
    [
        (1, 1),
        (1, 65536),
        (3, 65536),
        (5, 300),
        (64, 1),
        (101, 7),
        (500, 64),
        (700, 129),
        (130, 2049),
        (1037, 1000),
    ],
)
def test_every_shape_gives_the_lowest_of_the_best(whole_numbers, n, k, width, dtype):
    problem, lowest = whole_numbers(n, k, width, dtype)
    assert torch.equal(affine.search(*problem), lowest)


@pytest.mark.parametrize(("tile", "codes"), [(1, 64), (4096, 128), (20_000, 256), (100_000, 64)])
@pytest.mark.parametrize("capability", ["DEFAULT", "AVX512"])
def test_neither_tiles_nor_the_kernel_change_the_answer(
    whole_numbers, monkeypatch, tile, codes, capability
):
    problem, lowest = whole_numbers(901, 1000, 3)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(cpu, "TILE_CPU", tile)
    monkeypatch.setattr(cpu, "TILE_CODES", codes)
    assert torch.equal(affine.search(*problem), lowest)


@pytest.mark.parametrize("tile", [1, 5000, 10**6])
def test_the_tiles_of_an_accelerator_give_the_same(whole_numbers, monkeypatch, tile):
    problem, lowest = whole_numbers(101, 300, 5)
    monkeypatch.setattr(cuda, "TILE_SCORES", tile)
    assert torch.equal(cuda.in_tiles(*problem), lowest)


def test_real_numbers_give_the_choice_of_the_plain_product():
    generator = torch.Generator().manual_seed(0)
    query, codes = (
        torch.randn(3000, 64, generator=generator),
        torch.randn(1500, 64, generator=generator),
    )
    problem = query, -2 * codes, codes.square().sum(1)
    scores = problem[0].double() @ problem[1].double().T + problem[2].double()
    found = affine.search(*problem)
    assert (found == scores.argmin(1)).float().mean() > 0.999
    assert (scores.gather(1, found.unsqueeze(1)).squeeze(1) - scores.amin(1)).max() < 1e-4


@pytest.mark.parametrize("k", [1, 4, 1000])
def test_no_tokens_give_no_indices(k):
    assert affine.search(torch.empty(0, 3), torch.randn(k, 3), torch.zeros(k)).shape == (0,)


def test_strided_and_trainable_inputs(whole_numbers):
    (query, weight, bias), lowest = whole_numbers(900, 300, 6)
    strided = (query.T.contiguous().T, weight.repeat(1, 2)[:, :6], bias.repeat_interleave(2)[::2])
    found = affine.search(*(x.requires_grad_() for x in strided))
    assert torch.equal(found, lowest)
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(whole_numbers, dtype):
    problem, lowest = whole_numbers(300, 500, 64)
    assert torch.equal(affine.search(*(x.to(dtype) for x in problem)), lowest)


def test_lower_precision_of_the_process_is_overridden_and_restored(whole_numbers, monkeypatch):
    problem, _ = whole_numbers(2, 3, 4)
    products = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    before, inside = [one.fp32_precision for one in products], []
    plain = cpu.find
    monkeypatch.setattr(
        cpu, "find", lambda *x: inside.extend(one.fp32_precision for one in products) or plain(*x)
    )
    try:
        for one in products:
            one.fp32_precision = "bf16"
        affine.search(*problem)
        assert inside == ["ieee", "ieee"]
        assert [one.fp32_precision for one in products] == ["bf16", "bf16"]
    finally:
        for one, value in zip(products, before, strict=True):
            one.fp32_precision = value


# -- the fused kernel -------------------------------------------------------


def test_the_fused_kernel_under_the_interpreter():
    """In a process of its own: Triton decides at its import whether it interprets."""
    pytest.importorskip("triton", minversion="3.7", reason="older ones fail with NumPy 2.4")
    tests = Path(__file__).with_name("interpreted_search.py")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", str(tests)]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("width", [8, 64, 256])
def test_the_fused_kernel_compiles_for_gpus(capability, width):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fused = importlib.import_module("vqcore.search.fused")
    products = width >= fused.FEW_COLUMNS
    kernel = fused._by_products if products else fused._by_columns
    constants = {"S": width, "SPLIT": True, "BLOCK_N": 64, "BLOCK_K": 64, "BLOCK_S": 64}
    constants |= {"PADDED": width, "EXTRA": 0} if products else {}
    numbers = dict.fromkeys(("N", "K", "codes_a_split", "rows", "codes"), "i32")
    pointers = dict.fromkeys(("QUERY", "WEIGHT", "BIAS"), "*fp32") | {"FOUND": "*i64"}
    if products:
        pointers = {"QUERY": "*fp32", "HALVES": "*fp16", "OTHERS": "*fp32", "FOUND": "*i64"}
    types = pointers | numbers | dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel.fn, types, constants)
    target = GPUTarget("cuda", capability, 32)
    options = {"num_warps": 4, "num_stages": 2, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=target, options=options)
    assert ("mma" in compiled.asm["ptx"]) == products  # tensor cores
    assert compiled.metadata.shared < 100 * 1024  # fits every GPU since 2020


@pytest.mark.parametrize(
    ("padded", "columns"), [(16, {16}), (64, {64}), (128, {64, 128}), (256, {64, 256}), (320, {64})]
)
def test_the_fused_kernel_tries_tiles_for_its_width(padded, columns):
    pytest.importorskip("triton")
    fused = importlib.import_module("vqcore.search.fused")
    tried = fused._fitting(fused._configs(fused.PRODUCT_TILES), {}, PADDED=padded)
    assert {one.kwargs["BLOCK_S"] for one in tried} == columns
    assert 4 <= len(tried) <= 6


# -- graphs -----------------------------------------------------------------


class Search(nn.Module):
    """The search as a model that exports."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, query):
        return affine.search(query, self.weight, self.bias)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_graph_holds_one_operator(whole_numbers, dynamic):
    (query, weight, bias), lowest = whole_numbers(300, 700, 8)
    graphs = []

    def backend(graph, _):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph

    torch._dynamo.reset()
    model = torch.compile(Search(weight, bias), fullgraph=True, backend=backend, dynamic=dynamic)
    for n in (300, 250) if dynamic else (300,):
        assert torch.equal(model(query[:n]), lowest[:n])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(model(query[:n]), lowest[:n])
    assert all(sum("vqcore" in target for target in graph) == 1 for graph in graphs)


def test_a_compiled_graph_trains_around_the_search(whole_numbers):
    (query, weight, bias), lowest = whole_numbers(64, 100, 8)

    def distance(query, weight, bias):
        return (query - weight[affine.search(query, weight, bias)]).square().sum()

    torch._dynamo.reset()
    query, weight = query.requires_grad_(), weight.requires_grad_()
    torch.compile(distance, fullgraph=True, backend="aot_eager")(query, weight, bias).backward()
    assert torch.equal(query.grad, 2 * (query - weight[lowest]).detach())


def test_the_operator_keeps_its_contract(whole_numbers):
    problem, _ = whole_numbers(40, 30, 4)
    torch.library.opcheck(torch.ops.vqcore.nearest.default, problem)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_graph_holds_ordinary_operators_for_any_batch(strict, whole_numbers):
    if strict and torch.__version__ < "2.12":
        pytest.skip("a strict export cannot be told from a compilation")
    (query, weight, bias), lowest = whole_numbers(300, 700, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        program = torch.export.export(
            Search(weight, bias), (query,), strict=strict,
            dynamic_shapes={"query": {0: torch.export.Dim("n")}},
        )  # fmt: skip
    for n in (300, 5, 1):
        assert torch.equal(program.module()(query[:n]), lowest[:n])
    targets = [str(node.target) for node in program.run_decompositions().graph.nodes]
    assert any("argmin" in target for target in targets)
    assert not any("vqcore" in target for target in targets)


# -- memory -----------------------------------------------------------------

#: Prints the peak of resident memory in each search above what was resident before, in KiB. The
#: kernel is asked to forget earlier peaks (those of imports count otherwise), and a first search
#: loads the code of the kernels. In its own process: memory freed earlier would hide what is new.
PEAK = """
import torch
from vqcore.search import affine

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def plain(query, weight, bias):
    return torch.addmm(bias, query, weight.T).argmin(1)

torch.set_num_threads(1)
for search, n, k in [
    (affine.search, 1024, 1024), (affine.search, 4096, 4096), (affine.search, 4096, 32768),
    (affine.search, 262144, 1024), (plain, 4096, 8192),
]:
    problem = torch.randn(n, 2), torch.randn(k, 2), torch.randn(k)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = kib("VmRSS")
    search(*problem)
    print(kib("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of resident memory from /proc")
def test_memory_does_not_grow_with_tokens_times_codes():
    """The N x K scores would be 64, 512 and 1024 MB; the plain product holds 128 MB."""
    printed = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True
    ).stdout
    _, *tiled, whole = (int(kib) / 1024 for kib in printed.split())
    assert len(tiled) == 3
    assert max(tiled) < 32
    assert whole > 100


# -- manifolds --------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("dim", [2, 16])
def test_nearest_is_the_code_at_the_smallest_distance_in_float64(name, dim):
    manifold = build(name)
    generator = torch.Generator().manual_seed(dim)
    z, c = (3 * torch.randn(n, dim, generator=generator) for n in (400, 50))
    x, codes = manifold.expmap0(manifold.tangent(z)), manifold.expmap0(manifold.tangent(c))
    distances = manifold.pairwise_dist(x.double(), codes.double())
    found = manifold.nearest(x, codes)
    excess = distances.gather(1, found.unsqueeze(1)).squeeze(1) - distances.amin(1)
    assert found.dtype == torch.int64
    assert (found == distances.argmin(1)).float().mean() > 0.99
    assert (
        excess.max() < 1e-2
    )  # in float32 a near tie may go to the other code; never farther than rounding


def test_euclidean_search_survives_data_far_from_the_origin():
    manifold, generator = build("euclidean"), torch.Generator().manual_seed(0)
    x = 1000 + torch.randn(500, 16, generator=generator)
    codes = 1000 + torch.randn(64, 16, generator=generator)
    assert torch.equal(
        manifold.nearest(x, codes), torch.cdist(x.double(), codes.double()).argmin(1)
    )


@pytest.mark.parametrize("name", MANIFOLDS)
def test_autocast_does_not_change_the_index(name):
    manifold, generator = build(name), torch.Generator().manual_seed(0)
    x, codes = (
        manifold.expmap0(manifold.tangent(torch.randn(n, 16, generator=generator)))
        for n in (300, 64)
    )
    plain = manifold.nearest(x, codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(manifold.nearest(x, codes), plain)
