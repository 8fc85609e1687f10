"""The commands ``vq prior``, ``vq sample`` and ``vq probe``, over the functions of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vq.cli.arguments import RunArgument, TrustPlugins
from vq.cli.console import loaded, print_json, say, talking
from vq.processes.launched import require_one

if TYPE_CHECKING:
    from rich.table import Table


def _by_amount(text: str, default: str) -> Any:
    """An option whose default depends on the amount of codes: see ``PriorConfig.filled``."""
    return typer.Option(help=f"{text}  [default: {default}, by the amount of codes]")


Device = Annotated[str | None, typer.Option(help="Device; the run's own by default.")]


def prior(
    run: RunArgument,
    layers: Annotated[int | None, _by_amount("Transformer blocks.", "3 to 8")] = None,
    width: Annotated[int | None, _by_amount("Size of a position's vector.", "64 to 512")] = None,
    heads: Annotated[
        int | None, _by_amount("Attention heads; they divide width.", "4 to 8")
    ] = None,
    dropout: Annotated[float | None, _by_amount("Dropout in training.", "0.2 to 0")] = None,
    tied: Annotated[bool, typer.Option(help="Share the tables of embeddings and logits.")] = True,
    epochs: Annotated[int | None, _by_amount("Largest number of epochs.", "60 to 2")] = None,
    patience: Annotated[
        int | None, _by_amount("Epochs without progress to stop at.", "a sixth of the epochs")
    ] = None,
    lr: Annotated[float | None, _by_amount("Peak learning rate.", "0.003 to 0.001")] = None,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.1,
    batch_size: Annotated[int, typer.Option(help="Sequences in a step.")] = 64,
    classes: Annotated[bool, typer.Option("--classes", help="Condition on the class.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prior.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with one that was interrupted.")
    ] = False,
    device: Device = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Train a prior over the codes of a run.

    vq sample draws from it. Training stops when the validation loss no longer falls. Ctrl-C keeps
    the best weights so far.
    """
    options = {**locals()}
    del options["run"]
    with talking():
        trained = loaded("prior")(run, log=say, **options)
    _print_prior(trained.metrics)
    best = min(trained.history, key=lambda entry: entry["aside_bits"])["epoch"]
    interrupted, again = "", ""
    if trained.exit_code:
        interrupted, again = "interrupted; ", f"; vq prior {run} --resume continues"
    say(f"{interrupted}best after epoch {best}, stored in {trained.folder}{again}")
    raise typer.Exit(trained.exit_code)


def _print_prior(metrics: Mapping[str, float]) -> None:
    """The bits of a prior, for each token and for each pixel, beside those of its baselines."""
    from vq.terminal import Terminal

    unit = "bits_per_pixel" if "bits_per_pixel" in metrics else "bits_per_value"
    table = _table("codes", "bits per token", unit.replace("_", " "))
    for name, key in (
        ("prior, held-out", "bits_per_token"),
        ("prior, training", "train_bits_per_token"),
        ("unigram, held-out", "unigram_bits_per_token"),
        ("uniform", "uniform_bits_per_token"),
    ):
        per_unit = metrics[key] * metrics[unit] / metrics["bits_per_token"]
        table.add_row(name, f"{metrics[key]:.3f}", f"{per_unit:.3f}")
    Terminal().print(table)


def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Samples.")] = 64,
    temperature: Annotated[float, typer.Option(help="Divides the logits; 0 is greedy.")] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw from the k most likely codes; all by default.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the most likely codes, of total probability p.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", help="One class, else all in turn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .png or .npy file, else in RUN/prior.", metavar="FILE"
        ),
    ] = None,
    indices: Annotated[
        Path | None, typer.Option(help="Also the codes, as a .npy file.", metavar="FILE")
    ] = None,
    device: Device = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Draw samples from a run's prior.

    Writes a grid of images, or an array. A seed repeats its samples.
    """
    from vq.config.config_file import read_config
    from vq.runs.folder import RunFolder
    from vq_prior.stored import require_prior

    require_one("vq sample")
    if read_config(RunFolder(run).config).get("bottleneck", "vq") == "vq":  # else it has no codes
        require_prior(run)
    with talking():
        draw = loaded("sample")
        from vq_prior.prior_folder import prior_folder

        trained = loaded("load_run")(run, device, trust_plugins=trust_plugins)
        shape = trained.samples.shape
        suffixes = (".png", ".npy") if len(shape) == 3 and shape[0] in (1, 3) else (".npy",)
        _check_file("--output", output, suffixes, f" for samples of shape {shape}")
        _check_file("--indices", indices, (".npy",))
        samples = draw(trained, count, temperature, top_k, top_p, label, seed)
        path = output or prior_folder(trained) / f"samples{suffixes[0]}"
        samples.save(path, indices)
    say(f"{count} samples: {path}")


def probe(
    run: RunArgument,
    samples: Annotated[int, typer.Option(min=10, help="Most training samples used.")] = 10_000,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions with other samples.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Device = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Classify samples by their codes with a linear classifier.

    For comparison, also by their pixels.
    """
    from vq.terminal import Terminal

    with talking():
        result = loaded("probe")(run, samples, seeds, device=device, trust_plugins=trust_plugins)
    if as_json:
        print_json(asdict(result))
        return
    columns = ("features", "held-out accuracy", "sd over seeds", "standard error")
    table = _table("linear classifier on", *columns)
    for row in result.rows:
        spread = "" if row.spread is None else f"{row.spread:.4f}"
        size = str(row.size or "")
        table.add_row(row.features, size, f"{row.accuracy:.4f}", spread, f"{row.error:.4f}")
    Terminal().print(table)
    used = f"{result.train_samples} training and {result.test_samples} held-out samples"
    say(f"{result.classes} classes, {used}, {result.seeds} seeds")


def _check_file(option: str, path: Path | None, suffixes: tuple[str, ...], why: str = "") -> None:
    """Refuse a file name that cannot be used before anything is drawn."""
    from vq.files import check_free
    from vqcore.errors import SettingError

    if path is not None:
        if path.suffix not in suffixes:
            expected = f"a name that ends in {' or '.join(suffixes)}{why}"
            raise SettingError(option, str(path), expected)
        check_free(path, option)


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*columns, box=SIMPLE_HEAD)
