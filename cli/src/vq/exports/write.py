"""A run's encoder and decoder as files, with an export.json that describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from vq.exports.check import check
from vq.exports.formats import FORMATS, require_format
from vq.exports.programs import Runner, export_programs
from vq.files import as_path, check_free, new_folder, write_json
from vq.models.autoencoder import VQModel
from vq.progress import working
from vq.runs.provenance import model_of, require_codes, require_samples, versions
from vq.runs.trained_run import RunLike, load_run
from vqcore.errors import RunError, describe_error

FORMAT = 1
NAME = "export.json"
#: What a graph makes of indices that are no codes; it cannot raise.
OUT_OF_RANGE = (
    "-1 is a masked token: its vector is zero; any other index out of range decodes to NaN"
)


def export(
    run: RunLike,
    output: str | Path,
    file_format: Literal["pt2", "onnx"] = "pt2",
    *,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Write a run's encoder and decoder as two graphs, with an export.json beside them.

    Args:
        run: the run folder, or the run.
        output: a new or empty folder.
        file_format: ``pt2`` (torch.export) or ``onnx``.
        trust_plugins: see ``load_run``.

    Returns:
        The contents of export.json.

    Raises:
        SettingError: if the model has no codes or is a classifier, or the folder is not empty.
        UsageError: if the extra of the format is not installed.
        RunError: if the model cannot be traced, or the files and the model differ; nothing is left
            behind then.
    """
    trained = load_run(run, "cpu", trust_plugins=trust_plugins)
    require_codes(trained)
    require_samples(trained, "vq export")
    require_format(file_format)
    folder = as_path("output", output)
    check_free(folder)
    model = trained.model.to(memory_format=torch.contiguous_format)
    samples = trained.samples
    with new_folder(folder) as temporary:
        files, (encode, decode) = _write(temporary, model, samples.shape, file_format)
        about = {
            "format": FORMAT,
            "file_format": file_format,
            **files,
            "sample_shape": list(samples.shape),
            "value_range": list(samples.value_range),
            "index_shape": list(model.index_shape),
            "latent_shapes": [list(shape) for shape in model.latent_shapes],
            "codebook_size": model.codebook_size,
            "out_of_range": OUT_OF_RANGE,
            "model": model_of(trained),
            "checked": check(model, encode, decode, samples.value_range),
            "versions": versions(*(("onnx", "onnxscript") if file_format == "onnx" else ())),
        }
        write_json(temporary / NAME, about)
    return about


def _write(
    folder: Path, model: VQModel, shape: tuple[int, ...], file_format: str
) -> tuple[dict[str, str], list[Runner]]:
    """Write the two graphs into a folder; their file names, and the files as loaded again."""
    files = {}
    runners = []
    try:
        with working("exporting", 2, "programs") as task:
            for name, program, given, made in export_programs(model, shape):
                files[name] = f"{name}.{file_format}"
                runners.append(FORMATS[file_format](program, folder / files[name], given, made))
                task.advance()
    except OSError:
        raise
    except Exception as error:  # a third-party component may raise anything when it is traced
        cause = describe_error(error)
        if file_format == "onnx" and model.like.dtype == torch.float64:
            cause += "; ONNX Runtime has few operations in float64: export it as pt2"
        raise RunError(f"this model cannot be exported as {file_format}: {cause}") from error
    return files, runners
