"""``vq evaluate``: held-out metrics of a run, from its latest checkpoint."""

from pathlib import Path
from typing import Annotated, Any

from vq.cli.arguments import AsJson, Device, RunArgument, TrustPlugins, option
from vq.cli.console import loaded, print_json, talking


def evaluate(
    run: RunArgument,
    device: Device = None,
    as_json: AsJson = False,
    lpips: Annotated[
        Path | None,
        option("Also LPIPS, with torchvision's weights in this file.", metavar="WEIGHTS"),
    ] = None,
    fid: Annotated[
        Path | None,
        option("Also FID, with torch-fidelity's weights in this file.", metavar="WEIGHTS"),
    ] = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Evaluate a run on its held-out split. Nothing is downloaded."""
    with talking():
        metrics = loaded("evaluate")(run, device, lpips=lpips, fid=fid, trust_plugins=trust_plugins)
    if as_json:
        print_json(metrics)
    else:
        _print(metrics)


def _print(metrics: dict[str, Any]) -> None:
    from vq.evaluation.metrics_table import metrics_table
    from vq.terminal import Terminal

    dataset, shape, value_range, versions = (
        metrics.pop(name) for name in ("dataset", "shape", "value_range", "versions")
    )
    console = Terminal()
    console.print(metrics_table(metrics))
    low, high = value_range
    sides = " x ".join(map(str, shape))
    software = ", ".join(map(" ".join, versions.items()))
    text = f"{dataset['name']}: samples of {sides} in [{low:g}, {high:g}]; {software}"
    console.print(text, style="dim", soft_wrap=True)
