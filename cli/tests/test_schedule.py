"""The learning rate of each step, and how often things happen in runs of any length."""

from functools import partial
from types import SimpleNamespace

import pytest

from vq.config.run_config import RunConfig
from vq.training.schedule import (
    COOLDOWN_SHARE,
    beyond_the_end,
    blend_steps,
    rate_factor,
    warmup_steps,
)
from vq.training.trainer import Trainer


def factors(total, **settings):
    return [rate_factor(step, total, RunConfig(**settings)) for step in range(total)]


@pytest.mark.parametrize(("total", "expected"), [(5, 0), (20, 2), (400, 40), (500, 50), (9999, 50)])
def test_the_default_warm_up_is_a_tenth_of_a_short_run(total, expected):
    assert warmup_steps(total, RunConfig()) == expected
    assert max(factors(total, schedule="constant")) == 1


def test_a_warm_up_that_was_asked_for_is_kept():
    assert factors(4, schedule="constant", warmup_steps=8) == [1 / 8, 2 / 8, 3 / 8, 4 / 8]


def test_a_warm_up_that_the_run_does_not_get_over_is_named(train):
    run = train("--warmup-steps", 9, "--quiet")
    for setting in ("warmup_steps", "blend_steps"):
        assert f"warning: {setting} = 9: the run ends after 8 steps, before" in run.result.err
    assert run.result.out == ""
    assert beyond_the_end(8, RunConfig(warmup_steps=8)) == []


@pytest.mark.parametrize(("start", "missed"), [(4, 0), (5, 1), (8, 0)])
def test_a_blend_counts_from_the_step_that_quantizes(start, missed):
    """A start that the run does not reach has a sentence of its own."""
    settings = RunConfig(warmup_steps=0, blend_steps=4, quantize_start=start)
    assert len(beyond_the_end(8, settings)) == missed


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_a_schedule_comes_down_to_zero(schedule):
    settings = RunConfig(schedule=schedule, warmup_steps=0)
    found = factors(100, schedule=schedule, warmup_steps=0)
    assert found == sorted(found, reverse=True)
    assert found[0] == 1
    assert 0 < found[-1] < 0.06
    assert rate_factor(100, 100, settings) == 0
    assert rate_factor(200, 100, settings) == 0


def test_shapes_of_the_schedules():
    linear = factors(10, schedule="linear", warmup_steps=0)
    assert linear == pytest.approx([1 - step / 10 for step in range(10)])
    wsd = factors(100, schedule="wsd", warmup_steps=0)
    stable = round(100 * (1 - COOLDOWN_SHARE))
    assert wsd[: stable + 1] == pytest.approx([1.0] * (stable + 1))
    assert wsd[90] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("total", "every", "expected"),
    [(20, None, [20]), (500, None, [200, 400, 500]), (20_000, None, range(400, 20_001, 400)),
     (20, 8, [8, 16, 20])],
)  # fmt: skip
def test_periods_follow_from_the_length_of_the_run(total, every, expected):
    run = SimpleNamespace(total_steps=total)
    run.period = partial(Trainer.period, run)
    due = []
    for run.step in range(1, total + 1):
        if Trainer.is_due(run, every):
            due.append(run.step)
    assert due == list(expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 40), ({"warmup_steps": 7}, 7), ({"warmup_steps": 0}, 0),
     ({"warmup_steps": 7, "blend_steps": 9}, 9), ({"blend_steps": 0}, 0)],
)  # fmt: skip
def test_codes_are_blended_in_over_the_warm_up_unless_it_is_said(settings, expected):
    assert blend_steps(400, RunConfig(**settings)) == expected
