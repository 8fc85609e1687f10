"""A run's encoder and decoder as files, with an export.json that says what they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from vq.exports.check import check
from vq.exports.formats import FORMATS, require_format
from vq.exports.programs import Runner, export_programs
from vq.models.autoencoder import VQModel
from vq.runs.files import check_free, new_folder, write_text
from vq.runs.provenance import model_of, require_codes, versions
from vq.runs.trained_run import TrainedRun
from vqcore.errors import RunError
from vqcore.plugin.loader import describe

FORMAT = 1
NAME = "export.json"


def export_run(run: TrainedRun, folder: Path, file_format: str = "pt2") -> dict[str, Any]:
    """Write ``encoder`` and ``decoder`` in a format of ``FORMATS``, and export.json; what is in that.

    Args:
        run: on the CPU.
        folder: new or empty.
        file_format: ``pt2`` or ``onnx``.

    Raises:
        SettingError: if the model has no codes, or the folder holds something.
        UsageError: if the format's extra is not installed.
        RunError: if the model cannot be traced, or the files do not compute what it does; nothing is left behind then.
    """
    require_codes(run)
    require_format(file_format)
    check_free(folder)
    model, samples = run.model.to(memory_format=torch.contiguous_format), run.samples
    with new_folder(folder) as temporary:
        files, runners = _write(temporary, model, samples.shape, file_format)
        about = {
            "format": FORMAT,
            "file_format": file_format,
            **files,
            "sample_shape": list(samples.shape),
            "value_range": list(samples.value_range),
            "index_shape": list(model.index_shape),
            "latent_shapes": [list(shape) for shape in model.latent_shapes],
            "codebook_size": model.codebook_size,
            "model": model_of(run),
            "checked": check(model, *runners, samples.value_range),
            "versions": versions(*(("onnx", "onnxscript") if file_format == "onnx" else ())),
        }
        write_text(temporary / NAME, json.dumps(about, indent=2) + "\n")
    return about


def _write(
    folder: Path, model: VQModel, shape: tuple[int, ...], file_format: str
) -> tuple[dict[str, str], list[Runner]]:
    """The two graphs as files of a folder: their names, and what the files compute."""
    files, runners = {}, []
    try:
        for name, program, given, made in export_programs(model, shape).items():
            files[name] = f"{name}.{file_format}"
            runners.append(FORMATS[file_format](program, folder / files[name], given, made))
    except OSError:
        raise
    except (
        Exception
    ) as error:  # whatever a third party's component does that cannot be traced or saved
        raise RunError(
            f"this model cannot be exported as {file_format}: {describe(error)}"
        ) from error
    return files, runners
