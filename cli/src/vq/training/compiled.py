"""The forward and backward pass of a training step under ``torch.compile``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import nn

from vqcore.errors import SettingError, describe_error


def compiled(model: nn.Module) -> nn.Module:
    """The model compiled as a whole: encoder, bottleneck, decoder and losses.

    It has the same parameters; the model itself stays as it is, for evaluation. What a component
    does that cannot be compiled runs between the compiled parts.
    """
    # an epoch's last batch is not worth a second compilation, see ``compiling``
    return cast(nn.Module, torch.compile(model, dynamic=False))


@contextmanager
def compiling(*, now: bool, reused: bool = False) -> Iterator[None]:
    """Inside, a compiled model runs compiled, or as it was written unless ``now``.

    Its graph may be ``reused``: have several backward passes, for which it keeps its buffers.

    Raises:
        SettingError: if compilation fails, as without a compiler.
    """
    from torch._dynamo.exc import TorchDynamoException
    from torch._functorch import config as functorch_config

    stance: Any = nullcontext() if now else torch.compiler.set_stance("force_eager")
    try:
        with stance, functorch_config.patch(donated_buffer=not reused):
            yield
    except TorchDynamoException as error:
        reason = describe_error(getattr(error, "inner_exception", error))
        expected = f"false, for torch.compile fails here: {reason}"
        raise SettingError("compile", True, expected) from error
