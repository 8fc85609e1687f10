"""Uploading a model's folder to the hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vq.hub.folder import write_folder
from vq.optional_dependencies import require
from vq.runs.trained_run import TrainedRun
from vqcore.errors import RunError, SettingError
from vqcore.plugin.loader import describe

_FIX = (
    "log in with: hf auth login (or set HF_TOKEN); without a network: vq push RUN --to-folder DIR"
)


def push(run: TrainedRun, repo: str, *, private: bool = False, revision: str | None = None) -> str:
    """Upload a trained run's model; the address it is at.

    Args:
        run: the trained run.
        repo: ``owner/name``; made where there is none.
        private: make it private.
        revision: a branch that is there, other than the main one.

    Raises:
        UsageError: if ``huggingface_hub`` is not installed.
        SettingError: if the name is none.
        RunError: if the hub cannot be reached, or refuses.
    """
    require("hub", "vq push", "huggingface_hub")
    from huggingface_hub import HfApi

    api = HfApi(library_name="vq")
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_folder(run, Path(temporary) / "model", repo)
        try:
            made = api.create_repo(repo, private=private, exist_ok=True)
            message = f"{run.config.title()}, {run.checkpoint.name}"
            api.upload_folder(
                repo_id=made.repo_id, folder_path=folder, revision=revision, commit_message=message
            )
        except ValueError as error:
            raise SettingError("REPO", repo, f"a name as in owner/name ({error})") from error
        except Exception as error:  # each version of the client has exceptions of its own
            raise RunError(f"{repo} cannot be pushed: {describe(error)}; {_FIX}") from error
    return str(made)
