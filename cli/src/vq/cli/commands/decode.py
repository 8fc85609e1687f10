"""``vq decode``: indices as the images or arrays that a run's model decodes them to."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vq.cli.arguments import Device, RunArgument, TrustPlugins, argument, option
from vq.cli.console import loaded, say, talking
from vq.processes.launched import require_one


def decode(
    run: RunArgument,
    tokens: Annotated[
        Path, argument("A folder from vq encode, or a .npz, .safetensors or .npy file.", "TOKENS")
    ],
    output: Annotated[
        Path,
        option("A folder of PNG or WAV files, or a .npy file.", "--output", "-o", metavar="OUT"),
    ],
    file_format: Annotated[
        Literal["png", "wav", "npy"] | None,
        option("By default, from the name of OUT and the samples.", "--format"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples decoded at a time.")] = 256,
    force: Annotated[
        bool, option("Decode indices that another model's weights chose.", "--force")
    ] = False,
    device: Device = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Write the samples that indices stand for.

    Images get the names of what was encoded. Audio becomes WAV files, video folders of PNG files.
    """
    require_one("vq decode")
    with talking():
        count = loaded("decode")(
            run,
            tokens,
            output,
            file_format=file_format,
            batch_size=batch_size,
            force=force,
            device=device,
            trust_plugins=trust_plugins,
        )
    say(f"{count} samples: {output}")
