"""A warning when the loss jumps, as it does where steps are too long."""

from __future__ import annotations

import logging
import statistics
from collections import deque
from collections.abc import Mapping

from vq.training.opponents import OPPONENT
from vq.training.schedule import warmup_steps
from vq.training.trainer import Trainer

_log = logging.getLogger(__name__)
#: So many times the median of the steps before is a spike;
TIMES = 10.0
#: the median is over these steps at least and at most.
_LEAST, _MOST = 5, 100


class SpikeWarning:
    """Warns once, at the first log line after a step whose loss jumped."""

    def __init__(self) -> None:
        self._before: deque[Mapping[str, float]] = deque(maxlen=_MOST)
        self._warned = False

    def vq_log(self, run: Trainer) -> None:
        """Judge the steps since the last line."""
        losses = run.accumulator.losses
        for step, terms in enumerate(losses, run.step - len(losses) + 1):
            if len(self._before) >= _LEAST and not self._warned:
                self._judge(run, step, terms)
            self._before.append(terms)

    def _judge(self, run: Trainer, step: int, terms: Mapping[str, float]) -> None:
        loss, median = terms["loss"], self._median("loss")
        if not 0 < TIMES * median < loss:  # a loss may be negative, as a likelihood
            return
        self._warned = True
        warmup = warmup_steps(run.total_steps, run.settings)
        rate = getattr(run.config.components["optimizer"].options, "lr", None)
        remedies = ["lower --lr" if rate is None else f"lower --lr ({rate:g} here)"]
        remedies.append(f"raise --warmup-steps ({warmup} here)")
        if not run.settings.grad_clip:
            remedies.append("clip the gradient (--grad-clip 1)")
        _log.warning(
            f"step {step}: the loss jumps to {loss:.4g}, {loss / median:.0f} times the median of "
            f"the steps before{self._cause(terms)}. If it does not recover: "
            f"{', or '.join(remedies)}"
        )

    def _cause(self, terms: Mapping[str, float]) -> str:
        """Which of several terms of the loss has grown most."""
        names = [name for name in terms if name != "loss" and not name.endswith(OPPONENT)]
        growth = {name: terms[name] - self._median(name) for name in names}
        return f", most of it {max(growth, key=growth.__getitem__)}" if len(growth) > 1 else ""

    def _median(self, name: str) -> float:
        return statistics.median(each.get(name, 0.0) for each in self._before)
