"""``vq encode``: images or arrays as the indices of a run's codes."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vq.cli.arguments import Device, RunArgument, TrustPlugins, argument, option
from vq.cli.console import loaded, say, talking

if TYPE_CHECKING:
    from vq.tokens.manifest import Manifest

STOPPING = "stopping: the shards that are done stay; Ctrl-C again stops at once"


def encode(
    run: RunArgument,
    path: Annotated[
        Path,
        argument(
            "A folder of images, an image, a .npy or .npz file; train or test for the run's "
            "own data.",
            "PATH",
        ),
    ],
    output: Annotated[Path, option("The folder of indices.", "--output", "-o", metavar="OUT")],
    file_format: Annotated[
        Literal["npz", "safetensors"], option("Of the shards.", "--format")
    ] = "npz",
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 10_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples encoded at a time.")] = 256,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read images ahead; by cores if unset.")
    ] = None,
    key: Annotated[
        str | None, option("Which array of a .npz file; x or the only one by default.")
    ] = None,
    layout: Annotated[
        Literal["auto", "NCHW", "NHWC"],
        option("Where the channels of arrays are.", metavar="NCHW|NHWC"),
    ] = "auto",
    device: Device = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Write the indices of every sample.

    They are written in shards, with a manifest. After an interruption, the same command continues
    with the next shard. Files that cannot be read are left out and listed in the manifest.
    """
    from vq.interrupt import Interrupt
    from vq.tokens.given_path import check_given

    check_given(path)
    with talking() as display, Interrupt(lambda: display.console.print_line(STOPPING)) as interrupt:
        manifest = loaded("encode")(
            run,
            path,
            output,
            file_format=file_format,
            shard_size=shard_size,
            batch_size=batch_size,
            workers=workers,
            key=key,
            layout=layout,
            device=device,
            trust_plugins=trust_plugins,
            stopped=lambda: interrupt.number is not None,
        )
    if not manifest.complete:  # another process may have received the signal
        say(f"interrupted; the same command continues: {output}")
        raise typer.Exit(128 + (interrupt.number or signal.SIGINT))
    _summarize(manifest, output)


def _summarize(manifest: "Manifest", output: Path) -> None:
    skipped, names = list(manifest.skipped), manifest.names
    if skipped:
        some = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        left_out = f"{len(skipped)} of {len(skipped) + len(names)} files cannot be read"
        say(f"{left_out} and are left out ({some}): the manifest says why")
    shape = " x ".join(map(str, manifest.index_shape)) or "1"
    indices = f"{shape} indices below {manifest.codebook_size}, as {manifest.dtype}"
    shards = "1 shard" if len(manifest.shards) == 1 else f"{len(manifest.shards)} shards"
    say(f"{len(names)} samples of {indices}, in {shards}: {output}")
