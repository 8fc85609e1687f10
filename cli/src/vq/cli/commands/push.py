"""``vq push``: upload a run's model to the Hugging Face hub, or write its files to a folder."""

from pathlib import Path
from typing import Annotated

from vq.cli.arguments import RunArgument, TrustPlugins, argument, option
from vq.cli.console import say
from vq.processes.launched import require_one


def push(
    run: RunArgument,
    repo: Annotated[str | None, argument("The repository, as in owner/name.", "REPO")] = None,
    to_folder: Annotated[
        Path | None, option("Write this folder instead of uploading.", metavar="DIR")
    ] = None,
    private: Annotated[bool, option("Make a new repository private.", "--private")] = False,
    revision: Annotated[str | None, option("Upload to this branch.", metavar="BRANCH")] = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Upload a run's model to the Hugging Face hub.

    The upload holds weights, config, and a model card with the metrics.
    vq.from_pretrained("owner/name") loads it again; it also takes the path of a folder.
    """
    require_one("vq push")
    import vq

    where = vq.push(
        run,
        repo,
        to_folder=to_folder,
        private=private,
        revision=revision,
        trust_plugins=trust_plugins,
    )
    say(f"model: {where}")
