"""Background searches: no step waits for them, and they end with the process. No test is timed."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vq_homology import backends, pair_search, regularizer
from vq_homology.background_search import BackgroundSearch, must_wait
from vq_homology.homology_config import HomologyConfig
from vq_homology.pair_search import SearchOptions
from vq_homology.regularizer import Homology
from vqcore.errors import RunError, SettingError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LOOPS = {"points": "codebook", "h1_weight": 1.0, "h1_target": 0.5, "backend": "gudhi", "refresh": 3}
PATIENCE = 3600  # seconds until a test that hangs fails


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def evaluate(layer, points, step, latents=None):
    registry = default_registry()
    manifold = registry.build(registry.resolve("manifold", "euclidean"))
    z = draw(8, points.shape[1]) if latents is None else latents
    return layer(
        LatentBatch(z, z.detach(), torch.zeros(len(z), dtype=torch.int64), points, manifold, step)
    )


class Held(backends.Gudhi):
    """A backend that searches once ``go`` is set, and records the thread of each search."""

    def __init__(self):
        super().__init__()
        self.go, self.threads, self.fails = threading.Event(), [], None

    def loops(self, edges, points):
        self.threads.append(threading.current_thread().name)
        assert self.go.wait(PATIENCE)
        if self.fails is not None:
            raise self.fails
        return super().loops(edges, points)


@pytest.fixture
def held(monkeypatch):
    backend = Held()
    monkeypatch.setattr(backends, "get", lambda *_, **__: backend)
    yield backend
    backend.go.set()


def finish(layer):
    """Wait until the running searches are done, as no training step does."""
    for running in layer._background._running.values():
        running.exception(PATIENCE)


def test_which_steps_wait(request):
    assert must_wait("auto", CPU)
    assert not must_wait("auto", CUDA)
    assert must_wait("always", CUDA)
    assert not must_wait("never", CPU)
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))
    torch.use_deterministic_algorithms(True)
    assert must_wait("auto", CUDA)
    assert HomologyConfig().wait == "auto"
    with pytest.raises(ValidationError):
        HomologyConfig(wait="sometimes")


def test_steps_continue_while_a_search_runs(held):
    """The term is 0 until the first pairs are found; then it uses them with the current points."""
    layer, points = Homology(**LOOPS, wait="never"), draw(30, 3).requires_grad_()
    for step in range(5):
        term = evaluate(layer, points, step)
        term.backward()
        assert term.item() == 0
        assert points.grad.abs().sum() == 0
    held.go.set()
    finish(layer)
    assert len(held.threads) == 1  # no second search while one is running
    assert held.threads[0].startswith("homology")
    moved = points.detach() + 0.1 * draw(30, 3, seed=1)
    term = evaluate(layer, moved, 5)
    waited = Homology(**LOOPS | {"refresh": 10})
    evaluate(waited, points.detach(), 0)
    assert (
        term.item() == evaluate(waited, moved, 5).item() > 0
    )  # pairs of step 0, lengths of step 5
    assert layer._results[0].step == 0


def test_old_pairs_are_used_until_new_ones_arrive(held):
    layer, points = Homology(**LOOPS, wait="never"), draw(30, 3)
    held.go.set()
    evaluate(layer, points, 0)
    finish(layer)
    first = evaluate(layer, points, 1).item()
    assert first > 0
    assert len(held.threads) == 1
    held.go.clear()
    for step in range(2, 8):  # due from step 3 on, and held
        assert evaluate(layer, points, step).item() == first
        assert layer._results[0].step == 0
    held.go.set()
    finish(layer)
    assert len(held.threads) == 2
    evaluate(layer, points, 8)
    assert layer._results[0].step == 3


def test_waiting_searches_run_on_the_calling_thread(held):
    held.go.set()
    for options in ({"wait": "always"}, {"wait": "auto"}, {"wait": "never", "points": "latents"}):
        layer = Homology(**LOOPS | options)
        assert evaluate(layer, draw(30, 3), 0, draw(30, 3, seed=2)).item() > 0
    assert held.threads == [threading.current_thread().name] * 3


def test_steps_do_not_synchronise_with_the_device(monkeypatch):
    """From the first search to the term that uses it: reading a value of a meta tensor raises."""
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda t: torch.ones(t.shape, dtype=t.dtype) if t.is_meta else t
    )
    layer, points = Homology(**LOOPS), draw(30, 3).to("meta").requires_grad_()
    for step in range(6):
        term = evaluate(layer, points, step, draw(8, 3))
        term.backward()
        finish(layer)
    assert term.is_meta
    assert points.grad.is_meta
    assert layer._results[0].step == 3  # searched on steps 0 and 3, used one step later
    assert layer._results[0].edges.is_meta


def test_codebooks_have_separate_searches_on_one_thread(held):
    layer = Homology(**LOOPS, wait="never")
    tables = [draw(30, 3, seed=seed) for seed in range(3)]
    held.go.set()
    for table in tables:
        evaluate(layer, table, 0)
    finish(layer)
    terms = [evaluate(layer, table, 1).item() for table in tables]
    assert terms == [evaluate(Homology(**LOOPS), table, 0).item() for table in tables]
    assert len(set(held.threads[:3])) == 1


def test_a_result_that_no_longer_fits_is_discarded(held):
    layer = Homology(**LOOPS, wait="never")
    evaluate(layer, draw(30, 3), 5)
    held.go.set()
    finish(layer)
    assert evaluate(layer, draw(20, 3), 6).item() == 0  # another shape
    evaluate(layer, draw(20, 3), 7)
    finish(layer)
    assert evaluate(layer, draw(20, 3), 2).item() == 0  # the step decreased
    evaluate(layer, draw(20, 3), 3)
    finish(layer)
    assert evaluate(layer, draw(20, 3), 4).item() > 0


def test_h0_alone_is_also_searched_in_the_background():
    layer, points = Homology(points="codebook", wait="never"), draw(30, 3)
    assert evaluate(layer, points, 0).item() == 0
    finish(layer)
    assert (
        evaluate(layer, points, 1).item()
        == evaluate(Homology(points="codebook"), points, 0).item()
        > 0
    )


def test_memory_is_bounded_when_the_step_does_not_advance(monkeypatch):
    monkeypatch.setattr(regularizer, "MAX_CODEBOOKS", 3)
    layer = Homology(points="codebook", wait="never")
    terms = [evaluate(layer, draw(30, 3, seed=seed), 0).item() for seed in range(6)]
    assert [term > 0 for term in terms] == [False] * 3 + [True] * 3
    assert len(layer._background._running) <= 3


DEGENERATE = {
    "no point": torch.zeros(0, 2),
    "one": torch.ones(1, 2),
    "two": draw(2, 2),
    "all equal": torch.ones(300, 2),
    "duplicates": draw(5, 2).repeat(2, 1),
    "not finite": torch.cat([torch.tensor([[float("nan"), 0.0], [0.0, float("inf")]]), draw(8, 2)]),
    "nothing finite": torch.full((6, 2), float("nan")),
    "huge": 1e37 * draw(9, 2),
    "overflowing": 1e200 * draw(9, 2).double(),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_clouds_give_a_finite_term_and_gradient(kind):
    layer, points = Homology(**LOOPS, wait="never"), DEGENERATE[kind].clone().requires_grad_()
    for step in range(3):
        points.grad = None
        term = evaluate(layer, points, step)
        term.backward()
        assert torch.isfinite(term)
        assert torch.isfinite(points.grad).all()
        finish(layer)
    assert term.item() == evaluate(Homology(**LOOPS), points, 0).item()


# -- failures -------------------------------------------------------------


def test_a_failed_search_raises_at_the_next_step(held):
    layer = Homology(**LOOPS, wait="never")
    held.fails = ValueError("no such edge")
    held.go.set()
    evaluate(layer, draw(30, 3), 0)
    finish(layer)
    with pytest.raises(
        RunError, match=r"'homology': the background search failed.*no such edge"
    ) as found:
        evaluate(layer, draw(30, 3), 1)
    assert found.value.__cause__ is held.fails
    held.fails = None
    evaluate(layer, draw(30, 3), 2)  # after catching it, a new search starts
    finish(layer)
    assert evaluate(layer, draw(30, 3), 3).item() > 0


def test_a_setting_error_is_raised_unchanged(held):
    layer = Homology(**LOOPS, wait="never")
    held.fails = SettingError("backend", "giotto-ph", "fewer edges")
    held.go.set()
    evaluate(layer, draw(30, 3), 0)
    finish(layer)
    with pytest.raises(SettingError, match="fewer edges"):
        evaluate(layer, draw(30, 3), 1)


@pytest.mark.parametrize("ask", [backends.get, backends.get.__wrapped__])
def test_auto_in_the_background_is_the_backend_that_releases_the_gil(ask):
    assert ask("auto", in_background=True).name == "gudhi"


# -- copies, processes, checkpoints -----------------------------------------


def test_a_resumed_run_has_the_pairs_and_keeps_searching():
    layer, points = Homology(**LOOPS, wait="never"), draw(30, 3)
    evaluate(layer, points, 0)
    finish(layer)
    evaluate(layer, points, 1)
    evaluate(layer, points, 4)  # starts a search that is part of no checkpoint
    expected = evaluate(Homology(**LOOPS), points, 0).item()
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    fresh = Homology(**LOOPS, wait="never")
    fresh.load_state_dict(state)
    for resumed in (fresh, layer):
        resumed.load_state_dict(state)
        assert not resumed._background._running
        assert (
            evaluate(resumed, points, 5).item() == expected
        )  # the pairs of step 0, while new ones are searched
        finish(resumed)
        evaluate(resumed, points, 6)
        assert resumed._results[0].step == 5


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_has_its_own_searches(again, held):
    layer, points = Homology(**LOOPS, wait="never"), draw(30, 3)
    evaluate(layer, points, 0)
    twin = again(layer)
    assert twin._background is not layer._background
    assert not twin._background._running
    held.go.set()
    evaluate(twin, points, 1)
    finish(twin)
    assert evaluate(twin, points, 2).item() > 0
    assert layer._background._running


def test_the_thread_ends_with_its_layer(held):
    held.go.set()
    layer = Homology(**LOOPS, wait="never")
    evaluate(layer, draw(30, 3), 0)
    finish(layer)
    (thread,) = layer._background._pool._threads
    del layer
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


SCRIPT = """
import os, sys, torch
from vq_homology.regularizer import Homology
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry
manifold = default_registry().build(default_registry().resolve("manifold", "euclidean"))
layer, points, z = Homology(points="codebook", wait="never"), torch.randn(200, 4), torch.randn(8, 4)
def step(number):
    return float(layer(LatentBatch(z, z, torch.zeros(8).long(), points, manifold, number)))
def searched():
    first = step(1)
    [running.result(60) for running in layer._background._running.values()]
    return first == 0 and step(2) > 0
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT + code], capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"])
def test_a_process_ends_while_a_search_runs(end):
    done = run(f"print(step(0))\n{end}")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0.0", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_has_its_own_thread():
    code = """
step(0)
child = os.fork()
if child == 0:
    os._exit(0 if searched() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run(code)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_background_and_waiting_searches_find_the_same_pairs():
    registry = default_registry()
    manifold, points = registry.build(registry.resolve("manifold", "euclidean")), draw(40, 3)
    search = (0, SearchOptions(99, backends.get("gudhi"), 0.5))
    at_once, background = pair_search.search(points, manifold, *search), BackgroundSearch()
    assert background.search(0, points, manifold, *search) is None
    background._running[0].result(PATIENCE)
    found = background.search(0, points, manifold, *search)
    for field in ("rows", "edges", "filled"):
        assert np.array_equal(getattr(found, field), getattr(at_once, field)), field
