"""A training step recorded as a CUDA graph does what the step does without one."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

import vq
from vq.training import recorded_step
from vq.training.recorded_step import RecordedStep, why_not_recorded
from vq_hyperbolic.optimizer import riemannian_adam
from vq_hyperbolic.riemannian import point_parameter

SMALL = {"max_steps": 24, "batch_size": 256, "log_every": 4, "eval_every": 24, "warmup_steps": 8}


@pytest.fixture
def adam():
    return torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def test_a_run_that_cannot_be_recorded_says_why(tmp_path, caplog):
    vq.train(run_dir=tmp_path / "run", device="cpu", cuda_graph=True, max_steps=1)
    assert "cuda_graph = true has no effect here: the device is cpu" in caplog.text


@pytest.mark.parametrize(
    ("device", "processes", "precision", "reason"),
    [
        ("cpu", 1, "no", "the device is cpu"),
        ("cuda", 2, "no", "several processes train the model"),
        ("cuda", 1, "fp16", "fp16 decides about each step on the host; bf16 does not"),
        ("cuda", 1, "bf16", None),
    ],
)
def test_what_keeps_a_run_from_being_recorded(adam, device, processes, precision, reason):
    found = why_not_recorded(torch.device(device), processes, precision, adam)
    assert found == reason


def test_an_optimizer_without_the_option_is_named():
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    found = why_not_recorded(torch.device("cuda"), 1, "no", sgd)
    assert found == "SGD has no option capturable"


class Bottleneck(torch.nn.Module):
    """One whose steps have the given phases, in turn."""

    def __init__(self, phases=("same",), unrecordable=()):
        super().__init__()
        self.phases, self.unrecordable, self.replays = phases, unrecordable, 0
        self.step = 0

    @property
    def phase(self):
        return self.phases[self.step % len(self.phases)]

    def replayed(self):
        self.replays += 1


def recorder(bottleneck, optimizer):
    """Does the step of a number; ``computed`` has those computed with: replays leave none."""

    def compute(samples, shares):
        call.computed.append(float(samples[0]))
        return SimpleNamespace(copy=lambda: None)

    def call(number):
        step([torch.full((1,), float(number))], [1.0])
        bottleneck.step += 1

    step = RecordedStep(compute, bottleneck, Bottleneck(), optimizer)
    call.computed = []
    return call


def steps(bottleneck, optimizer, count):
    """The samples that were computed with, in the order of the steps."""
    step = recorder(bottleneck, optimizer)
    for number in range(count):
        step(number)
    return step.computed


@pytest.fixture
def fake_graphs(monkeypatch):
    """CUDA graphs that hold nothing; what they would have held when they are replayed."""
    replayed = []

    class Graph:
        def replay(self):
            replayed.append(self)

    @contextlib.contextmanager
    def recording(graph, **_):
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    return replayed


def test_each_phase_has_its_graph(adam, fake_graphs):
    bottleneck = Bottleneck(phases=("a", "b", "b"))
    steps(bottleneck, adam, 12)
    a, b = dict.fromkeys(fake_graphs)
    assert [{a: "a", b: "b"}[graph] for graph in fake_graphs] == list("abbabbabb")
    assert bottleneck.replays == 9


def test_a_phase_is_done_as_usual_once_before_it_is_recorded(adam, fake_graphs):
    phases = ["a"] * 5 + ["b"] * 3
    bottleneck = Bottleneck(phases)
    computed = steps(bottleneck, adam, 8)
    assert len(fake_graphs) == 4  # of a the last two, of b likewise
    assert len(computed) == 4 + 2  # the others, and once for each graph


def test_a_step_of_other_tensors_is_recorded_anew(adam, fake_graphs):
    """As after a callback that freezes or resizes a codebook."""
    bottleneck = Bottleneck()
    bottleneck.register_buffer("codes", torch.zeros(2))
    step = recorder(bottleneck, adam)
    changes = {
        6: lambda: setattr(bottleneck, "codes", torch.zeros(3)),
        9: lambda: adam.param_groups[0]["params"][0].requires_grad_(False),
    }
    for number in range(12):
        changes.get(number, lambda: None)()
        step(number)
    graphs = list(dict.fromkeys(fake_graphs))
    assert [graphs.index(each) for each in fake_graphs] == [0, 0, 0, 1, 1, 2, 2]
    assert len(step.computed) == 5 + 3  # as usual, and once for each graph


def test_only_so_many_graphs_are_kept(adam, fake_graphs, monkeypatch):
    monkeypatch.setattr(recorded_step, "MOST_GRAPHS", 1)
    steps(Bottleneck(phases=("a", "b")), adam, 12)
    assert len(set(fake_graphs)) == 1


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_a_step_that_cannot_be_recorded_runs_as_usual(adam, monkeypatch, caplog, fake_graphs, kind):
    def refused(*_, **__):
        raise kind("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "graph", refused)
    assert steps(Bottleneck(), adam, 6) == [0, 1, 2, 3, 4, 5]
    assert not fake_graphs
    assert caplog.text.count("cannot be recorded, it runs as usual: operation not permitted") == 1


@pytest.mark.parametrize("phases", [("a",), ("a", "a", "a", "b", "b", "b")])
def test_a_component_that_cannot_be_replayed_is_named_once(adam, fake_graphs, caplog, phases):
    caplog.set_level("INFO")
    assert len(steps(Bottleneck(phases, unrecordable=("homology",)), adam, 8)) == 8
    assert caplog.text.count("steps run one by one, because of homology") == 1


def test_an_optimizer_that_counts_on_the_host_is_not_replayed(fake_graphs, caplog):
    """Geoopt's has the option ``capturable``, as a kind of Adam, and ignores it."""
    caplog.set_level("INFO")
    code = point_parameter(torch.zeros(1, 2, dtype=torch.float64), "PoincareBall", 1.0)
    optimizer = riemannian_adam([code])
    code.grad = torch.ones_like(code)
    optimizer.step()
    assert why_not_recorded(torch.device("cuda"), 1, "no", optimizer) is None
    assert len(steps(Bottleneck(), optimizer, 6)) == 6
    assert "because of RiemannianAdam" in caplog.text


def test_a_step_reads_rates_of_the_device_only_while_it_is_recorded():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.NAdam([parameter], lr=0.5)
    parameter.grad = torch.ones(1)
    optimizer.step()
    (group,), rate = optimizer.param_groups, torch.empty((), device="meta")
    with recorded_step._capturable(optimizer, [rate]):
        assert group["lr"] is rate
        assert group["capturable"]
        kinds = {value.device.type for value in optimizer.state[parameter].values()}
        assert kinds == {"meta"}
    assert (group["lr"], group["capturable"]) == (0.5, False)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("quantizer", "manifold"), [("ema", "euclidean"), ("codebook", "poincare")]
)
def test_a_recorded_run_is_the_run(tmp_path, caplog, quantizer, manifold, compiled):
    options = dict(SMALL, quantizer=quantizer, manifold=manifold, device="cuda", compile=compiled)
    options |= {"weight_ema": 0.9, "losses": {"mse": {}, "ssim": {"start": 12}}}
    plain = vq.train(run_dir=tmp_path / "plain", **options)
    recorded = vq.train(run_dir=tmp_path / "recorded", cuda_graph=True, **options)
    assert "cannot be recorded" not in caplog.text
    before, now = plain.history, recorded.history
    for one, other in zip(before, now, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.02)
        assert other["lr"] == one["lr"]
