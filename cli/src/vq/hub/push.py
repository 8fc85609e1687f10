"""Publish a run's model on the hub, or as a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vq.files import as_path
from vq.hub.folder import write_folder
from vq.optional_dependencies import require
from vq.runs.trained_run import RunLike, TrainedRun, load_run
from vqcore.errors import RunError, SettingError, UsageError, describe_error

_FIX = (
    "log in with: hf auth login (or set HF_TOKEN); without a network: vq push RUN --to-folder DIR"
)


def push(
    run: RunLike,
    repo: str | None = None,
    *,
    to_folder: str | Path | None = None,
    private: bool = False,
    revision: str | None = None,
    trust_plugins: bool = False,
) -> str:
    """Upload a run's model to the hub, or write the files of the repository to a folder.

    Args:
        run: the run folder, or the run.
        repo: ``owner/name``; created if it does not exist.
        to_folder: a new folder to write instead of uploading.
        private: make a new repository private.
        revision: an existing branch to upload to, instead of the main one.
        trust_plugins: see ``load_run``.

    Returns:
        The address of the repository, or the folder.

    Raises:
        UsageError: if not exactly one of ``repo`` and ``to_folder`` is given, the run is not
            finished, or ``huggingface_hub`` is not installed.
        SettingError: if the name is invalid, or the folder is not empty.
        RunError: if the hub cannot be reached or refuses, or the folder cannot be written.
    """
    if (repo is None) == (to_folder is None):
        expected = "REPO, to upload to, or --to-folder DIR (to_folder=), to write to"
        raise UsageError(f"vq push: expected either {expected}")
    trained = load_run(run, "cpu", trust_plugins=trust_plugins)
    if to_folder is not None:
        return str(write_folder(trained, as_path("to_folder", to_folder)))
    assert repo is not None
    return _upload(trained, repo, private, revision)


def _upload(run: TrainedRun, repo: str, private: bool, revision: str | None) -> str:
    require("hub", "vq push", "huggingface_hub")
    from huggingface_hub import HfApi

    api = HfApi(library_name="vq")
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_folder(run, Path(temporary) / "model", repo)
        try:
            created = api.create_repo(repo, private=private, exist_ok=True)
            message = f"{run.config.title()}, {run.checkpoint.name}"
            api.upload_folder(
                repo_id=created.repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=message,
            )
        except ValueError as error:
            raise SettingError("REPO", repo, f"a name as in owner/name ({error})") from error
        except Exception as error:  # the exceptions differ between versions of the client
            raise RunError(f"{repo} cannot be pushed: {describe_error(error)}; {_FIX}") from error
    return str(created)
