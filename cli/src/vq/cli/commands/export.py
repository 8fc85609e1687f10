"""``vq export``: a run's encoder and decoder as programs that run without vq."""

from pathlib import Path
from typing import Annotated, Literal

from vq.cli.arguments import RunArgument, TrustPlugins, option
from vq.cli.console import loaded, say, talking
from vq.processes.launched import require_one


def export(
    run: RunArgument,
    output: Annotated[Path, option("A new folder.", "--output", "-o", metavar="OUT")],
    file_format: Annotated[
        Literal["pt2", "onnx"], option("torch.export or ONNX.", "--format")
    ] = "pt2",
    trust_plugins: TrustPlugins = False,
) -> None:
    """Write encoder and decoder as two programs.

    They are files of torch.export or ONNX. The encoder turns samples into indices, the decoder
    indices into samples. Both take any number of samples. They are run and compared with the model
    before the folder appears.
    """
    require_one("vq export")
    with talking():
        about = loaded("export")(run, output, file_format, trust_plugins=trust_plugins)
    checked = about["checked"]
    text = f"{checked['indices']} indices compared with the model's, "
    text += f"{checked['differing_indices']} differ"
    text += f"; values within {checked['largest_difference']:.1g}"
    text += f"\n{about['encoder']} and {about['decoder']} in {output}"
    say(text)
