"""What torch says of itself and the devices, printed as lines of JSON.

It runs in a process of its own (``vq.doctor.torch_devices`` starts it): a broken torch may end the
process that imports it, or never come back. A line names a stage and has its facts, or the error
that ended it; the stage that ends the process is the first one without a line.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

#: Names of ``--precision`` that need a number type, and the capability of a GPU from which it has
#: instructions for them.
_TYPES = {"bf16": ("bfloat16", 8), "fp16": ("float16", 5), "float64": ("float64", 0)}


def _torch() -> dict[str, Any]:
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _torchvision() -> dict[str, Any]:
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.ones(1), 0.5)  # an operator of its own, compiled for a torch
    return {"version": torchvision.__version__}


def _triton() -> dict[str, Any]:
    try:
        import triton
    except ModuleNotFoundError:
        return {"version": None}
    return {"version": triton.__version__}


def _devices() -> dict[str, Any]:
    import torch

    rows = [{"device": "cpu", "works": True, "precision": _cpu_precision()}]
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        rows.append(_gpu(number))
    if torch.backends.mps.is_available():
        rows.append({"device": "mps", "works": False, "precision": [], "error": "it lacks float64"})
    return {"devices": rows}


def _cpu_precision() -> list[str]:
    # tf32 acts on a GPU alone, and Accelerate trains in float32 where fp16 is asked of a CPU
    return ["no", *(name for name in ("bf16", "float64") if _multiplies(_TYPES[name][0], "cpu"))]


def _gpu(number: int) -> dict[str, Any]:
    import torch

    device = f"cuda:{number}"
    row: dict[str, Any] = {"device": device, "works": False, "precision": []}
    try:
        about = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        row["name"] = about.name
        row["capability"] = f"{about.major}.{about.minor}"
        row["memory_gib"], row["free_gib"] = round(total / 2**30, 1), round(free / 2**30, 1)
        row["works"] = _multiplies("float32", device)
        row["precision"] = ["no", *(["tf32"] if about.major >= 8 else [])]
        row["precision"] += [
            name
            for name, (kind, major) in _TYPES.items()
            if about.major >= major and _multiplies(kind, device)
        ]
    except Exception as error:  # the other devices may work
        row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return row


def _multiplies(kind: str, device: str) -> bool:
    import torch

    try:
        ones = torch.ones(16, 16, dtype=getattr(torch, kind), device=device)
        return bool((ones @ ones == 16).all())
    except RuntimeError:
        return False


#: In this order: each needs the ones before it.
STAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": _torch,
    "devices": _devices,
    "triton": _triton,
    "torchvision": _torchvision,
}


def main() -> None:
    """Print a line for each stage; the first stage that fails without torch is the last one."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    for name, stage in STAGES.items():
        line: dict[str, Any] = {"stage": name}
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                line["facts"] = stage()
            except BaseException as error:  # also what an extension raises that is no Exception
                line["error"] = f"{type(error).__name__}: {error}"
        line["warnings"] = list(dict.fromkeys(str(each.message) for each in warned))
        print(json.dumps(line), file=lines, flush=True)
        if name == "torch" and "error" in line:
            break
    sys.stdout.flush()
    os._exit(0)  # a library that fails at exit has no say


if __name__ == "__main__":
    main()
