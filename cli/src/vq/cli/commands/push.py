"""``vq push``: a run's model as a folder of the hub's layout, uploaded or kept here."""

from pathlib import Path
from typing import Annotated

import typer

from vq.cli.arguments import RunArgument
from vqcore.errors import UsageError


def push(
    run: RunArgument,
    repo: Annotated[
        str | None, typer.Argument(help="The repository, as in owner/name.", metavar="REPO")
    ] = None,
    to_folder: Annotated[
        Path | None,
        typer.Option(help="Write the folder here instead of uploading it.", metavar="DIR"),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="Upload to this branch.", metavar="BRANCH")
    ] = None,
) -> None:
    """Upload a run's model to the Hugging Face hub: weights, config, and a card with its figures.

    from_pretrained("owner/name") loads it again, and so it does a folder.
    """
    if (repo is None) == (to_folder is None):
        raise UsageError(
            "vq push: expected one of REPO, to upload to, and --to-folder DIR, to write to"
        )
    from rich.console import Console

    from vq.hub.folder import write_folder
    from vq.hub.push import push as upload
    from vq.runs.trained_run import load_run

    trained = load_run(run, "cpu")
    if to_folder is not None:
        where = write_folder(trained, to_folder)
    else:
        where = upload(trained, repo, private=private, revision=revision)
    Console().print(f"model: {where}", highlight=False, soft_wrap=True)
