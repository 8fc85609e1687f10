"""A warning when the loss jumps, as it does where steps are too long."""

from __future__ import annotations

import logging
import statistics
from collections import deque

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
        self._before: deque[float] = deque(maxlen=_MOST)
        self._warned = False

    def vq_log(self, run: Trainer) -> None:
        """Judge the steps since the last line."""
        losses = run.accumulator.losses
        for step, loss in enumerate(losses, run.step - len(losses) + 1):
            if len(self._before) >= _LEAST and not self._warned:
                self._judge(run, step, loss)
            self._before.append(loss)

    def _judge(self, run: Trainer, step: int, loss: float) -> None:
        median = statistics.median(self._before)
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
            f"the steps before. If it does not recover: {', or '.join(remedies)}"
        )
