"""A loss that is trained against the model: its turn in the step, and that runs go on exactly."""

import functools
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch._functorch import config as functorch_config

import vq
from vq.training.adaptive_factor import adaptive_factor

#: Six steps an epoch, the last with a short batch.
PASSES = ("--batch-size", 287, "--set", "log_every=1", "--set", "warmup_steps=3")
CODES = ("--codebook-size", 16)
NETWORK = ("--backbone", "mlp", "--set", "optimizer.eps=1e-3", "--schedule", "constant")
CRITIC = (
    "--plugin-file",
    Path(__file__).with_name("critic.py"),
    "--loss",
    "l1",
    "--loss",
    "critic",
)
RUN = (*PASSES, *CODES, *NETWORK, *CRITIC)
#: Without codes, which start with the first micro-batch.
PLAIN = (*PASSES, *NETWORK, *CRITIC, "--bottleneck", "none")
ADAPTIVE = ("--set", "losses.critic.adaptive=true")


def state(run):
    """The trainer's state without the time it took."""
    return torch.load(run.checkpoint / "trainer.pt", weights_only=True) | {"seconds": 0}


def flat(tree):
    """The numbers of a nested state, in order."""
    return torch.cat([each.flatten().double() for each in torch.utils._pytree.tree_leaves(tree)
                      if isinstance(each, torch.Tensor)])  # fmt: skip


def critic(run):
    """The critic's weights and moments."""
    return flat(state(run)["losses"]["critic"])


def test_a_run_in_two_parts_is_the_run_in_one(train, resume):
    choices = (*RUN, *ADAPTIVE, "--weight-ema", 0.9, "--set", "losses.critic.start=2")
    whole = train(*choices, "--max-steps", 8, run="whole")
    first = train(*choices, "--max-steps", 5, run="parts")
    assert not torch.equal(critic(first), critic(whole))
    parts = resume(first, "--max-steps", 8)
    assert parts.weights == whole.weights
    assert torch.equal(flat(state(parts)), flat(state(whole)))
    assert [line["loss"] for line in parts.metrics] == [line["loss"] for line in whole.metrics]


def test_accumulating_two_micro_batches_is_one_batch(train):
    one, two = (
        train(*PLAIN, "--max-steps", 4, "--set", f"accumulate={n}", run=f"{n}") for n in (1, 2)
    )
    torch.testing.assert_close(critic(one), critic(two), rtol=1e-4, atol=1e-6)
    for a, b in zip(one.metrics, two.metrics, strict=True):
        for name in ("loss", "reconstruction", "critic", "critic_opponent"):
            assert a[name] == pytest.approx(b[name], rel=1e-4), name


def test_a_micro_batch_may_be_empty(train):
    """The last batch of the epoch has fewer samples than micro-batches."""
    run = train(*PLAIN, *ADAPTIVE, "--max-steps", 6, "--set", "accumulate=4")
    assert run.metrics[-1]["critic"] > 0


def test_a_start_that_is_never_reached_is_named(train):
    run = train(*PLAIN, "--max-steps", 1, "--set", "losses.critic.start=1")
    assert "losses.critic.start = 1 is never reached: the term never acts" in run.result.out


def test_terms_are_logged_and_add_up(train):
    more = ("--loss", "mse", "--set", "losses.mse.weight=2", "--set", "losses.critic.weight=0.5")
    run = train(*RUN, *more, "--max-steps", 4, "--set", "losses.critic.start=2")
    before, after = run.metrics[1], run.metrics[-1]
    assert not {"critic", "critic_opponent"} & before.keys()
    assert after["reconstruction"] == pytest.approx(after["l1"] + after["mse"])
    terms = ("reconstruction", "critic", "commitment", "codebook")
    assert after["loss"] == pytest.approx(sum(after[name] for name in terms))
    assert after["critic"] == pytest.approx(0.5 * 0.69, rel=0.2)
    assert 1 < after["critic_opponent"] < 1.5


def test_half_precision_and_a_model_that_is_used_without_its_losses(train):
    run = train(*RUN, *ADAPTIVE, "--precision", "bf16", "--max-steps", 3)
    assert all(0 < line["critic_opponent"] < 2 for line in run.metrics)
    config = run.path / "config.yaml"
    values = yaml.safe_load(config.read_text()) | {"plugin_files": []}
    config.write_text(yaml.safe_dump(values))
    model = vq.load(run.path)
    assert not any("critic" in name for name in model.state_dict())


def test_a_critic_that_overflows_is_named(train, plugin_file):
    source = CRITIC[1].read_text().replace("F.softplus(fake).mean()", "F.softplus(fake).mean() / 0")
    choices = (*PASSES, *CODES, *NETWORK, "--loss", "l1", "--loss", "critic")
    run = train(*choices, "--plugin-file", plugin_file("endless", source), code=1)
    assert "step 1: critic_opponent is inf" in run.result.err


def test_a_turn_is_in_the_precision_of_the_loss(train, plugin_file):
    source = CRITIC[1].read_text().replace("    autocast = True\n", "").replace(
        "    def opponent(self, batch):\n",
        "    def opponent(self, batch):\n        assert not torch.is_autocast_enabled('cpu')\n",
    )  # fmt: skip
    choices = (*PASSES, *CODES, *NETWORK, "--loss", "l1", "--loss", "critic", "--max-steps", 1)
    train(*choices, "--precision", "bf16", "--plugin-file", plugin_file("precise", source))


def test_a_checkpoint_without_the_critic_is_refused(train, resume):
    run = train(*RUN, "--max-steps", 2)
    file = run.checkpoint / "trainer.pt"
    saved = torch.load(file, weights_only=True)
    del saved["losses"]
    torch.save(saved, file)
    (run.checkpoint / "manifest.json").unlink()
    found = resume(run, "--max-steps", 3, code=1)
    assert "it holds no state of the loss 'critic'" in found.result.err


def test_only_a_critic_is_no_objective(train):
    choices = ("--plugin-file", CRITIC[1], "--loss", "critic")
    run = train(*choices, code=2)
    assert "losses = 'critic': expected one with a weight that compares" in run.result.err


def test_the_network_alone_is_compiled(train, monkeypatch):
    """Its graph has several backward passes, so it may not give its buffers away."""
    donated = []

    def backend(graph, _):
        donated.append(functorch_config.donated_buffer)
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    choices = (*PLAIN, *ADAPTIVE, "--max-steps", 3)
    eager, compiled = train(*choices, run="eager"), train(*choices, "--compile", run="compiled")
    torch._dynamo.reset()
    assert donated == [False]
    torch.testing.assert_close(critic(compiled), critic(eager), rtol=1e-4, atol=1e-6)


# -- the adaptive factor ------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_factor_is_the_ratio_of_the_gradients(scale):
    weight, x = nn.Parameter(torch.tensor([[3.0, -1.0]])), torch.tensor([[1.0, 2.0]])
    decoded = x @ weight.mT
    reference, term = 3 * decoded.sum(), 2 * decoded.square().sum()
    expected = 3 / 4  # d/dw is 3x, and 4 decoded x with decoded = 1
    for wrt in (weight, decoded):
        found = adaptive_factor(reference, term, wrt, scale)
        assert found.item() == pytest.approx(expected, rel=1e-4)
        assert not found.requires_grad
    assert adaptive_factor(reference, 0 * term, weight).item() == 1e4
    assert adaptive_factor(reference.detach(), term, weight).item() == 0
    assert adaptive_factor(reference, term, weight, 0.0).item() == 0


@pytest.mark.parametrize("power", [0, 20])
def test_the_factor_does_not_depend_on_the_scale_of_fp16(power):
    weight = nn.Parameter(torch.ones(3))
    reference, term = 1e-3 * weight.sum(), 1e-5 * weight.sum()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**power)
    expected = adaptive_factor(reference, term, weight).item()
    found = adaptive_factor(reference, term, weight, scaler=scaler)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_where_the_term_alone_overflows_the_step_is_skipped():
    """Without the term it would be done as if nothing had happened, and the scale would stay."""
    weight = nn.Parameter(torch.ones(3))
    reference, term = weight.sum(), 1e36 * weight.sum()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    value = term * adaptive_factor(reference, term, weight, scaler=scaler)
    assert value.item() == 0
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler.scale(reference + value).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(weight, torch.ones(3))
    assert scaler.get_scale() < 2.0**16
