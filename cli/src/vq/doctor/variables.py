"""Environment variables that act on ``vq``."""

from __future__ import annotations

import os

from vq.doctor.finding import Finding, Problem
from vqcore.errors import did_you_mean
from vqcore.plugin.registry import Registry

#: Ours, and those of others that decide how a run computes. None of these holds a secret.
OURS = ("VQ_DISABLE_PLUGINS", "VQ_DEBUG", "VQ_PROCESS_TIMEOUT")
OTHERS = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_COMPILE_DISABLE"),
    *("NVIDIA_TF32_OVERRIDE", "RANK", "LOCAL_RANK", "WORLD_SIZE", "KMP_AFFINITY"),
)


def variables(_: Registry) -> Finding:
    """Those that are set, with their values; of a VQ_ variable of a plugin only that it is set."""
    facts = {name: os.environ[name] for name in (*OURS, *OTHERS) if name in os.environ}
    foreign = sorted(n for n in os.environ if n.startswith("VQ_") and n not in OURS)
    problems = [
        Problem("warning", f"{name} is set, which vq does not read", hint)
        for name in foreign
        if (hint := did_you_mean(name, OURS))
    ]
    return Finding(facts | dict.fromkeys(foreign, "(set)"), problems)
