"""Types of the numbers among a component's options. Every number of a config has two bounds.

They keep out what no machine can hold or no run can finish, and what overflows or vanishes in
float32; within them, a value is the user's choice.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

#: Most numbers in one table, network or data set of a config: 64 GiB in float32.
MOST_NUMBERS = 2**34

#: Dimensions, channels, units: one side of a matrix.
Size = Annotated[int, Field(gt=0, le=2**16)]
#: Layers, blocks, groups, stages: each is a module of its own.
Depth = Annotated[int, Field(gt=0, le=1024)]
#: Samples, tokens or codes.
Count = Annotated[int, Field(gt=0, le=10**9)]
#: Training steps or epochs; a large number means never, or until stopped.
Steps = Annotated[int, Field(gt=0, le=10**12)]
#: Training steps, 0 included.
StepsOrZero = Annotated[int, Field(ge=0, le=10**12)]
#: The seed of random draws.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
#: Processes that work beside the training process; 0 is none.
Workers = Annotated[int, Field(ge=0, le=256)]

#: A factor of a loss or a gradient; 0 switches it off.
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
#: A learning rate; a large one ends a run in words.
Rate = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
#: A factor or divisor that cannot be 0: a scale, a temperature, a curvature.
Scale = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False)]
#: What is added to a denominator.
Epsilon = Annotated[float, Field(ge=1e-30, le=1, allow_inf_nan=False)]
#: A share of a whole, 0 and 1 included.
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
#: The decay of a running mean, or a probability that may be 0 but not 1.
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
#: Any number that float32 holds.
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]


def check_total(what: str, numbers: int) -> None:
    """Refuse options whose product is too large, from a validator of their model.

    Raises:
        ValueError: if there are more than ``MOST_NUMBERS``.
    """
    if numbers > MOST_NUMBERS:
        raise ValueError(f"{what} of at most {MOST_NUMBERS:.1e} numbers, not {numbers:.1e}")
