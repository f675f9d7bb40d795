"""A model of the hub, by name: its configuration, safetensors and tokenizer, never pickles or code."""

from __future__ import annotations

import re
from pathlib import Path

from trainnet.worker.errors import TaskError
from trainnet.worker.trainer.models.folder import WEIGHTS, is_wanted

_PATIENCE_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(name: str, target: Path, endpoint: str | None = None) -> str:
    """Downloads the wanted files of `owner/name` or `owner/name@revision` and answers the exact revision.

    `endpoint` is the hub's address where it is not the usual one ($HF_ENDPOINT, else huggingface.co). Raises TaskError:
    WORKER where the hub cannot be reached from here, TASK where it has no such model for us.
    """
    import httpx2  # what huggingface_hub talks with
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    repository, _, revision = name.partition("@")
    try:
        # No token of the operator: what an owner names must be public.
        info = HfApi(endpoint, token=False).model_info(repository, revision=revision or None, timeout=_PATIENCE_SECONDS)
        commit = info.sha or ""
        files = [item.rfilename for item in info.siblings or [] if is_wanted(item.rfilename)]
        if not _COMMIT.fullmatch(commit):
            raise TaskError("TASK", f"the hub names no exact revision of {name}")
        if not any(file.endswith(".safetensors") for file in files):
            raise TaskError(
                "TASK", f"{name} has no safetensors on the hub, and pickles are never read: name a model that has"
            )
        # Where both are there, the shards repeat the one file.
        whole = WEIGHTS in files
        for file in files:
            if not (whole and file.startswith("model-")):
                hf_hub_download(
                    repository,
                    file,
                    revision=commit,
                    local_dir=target,
                    token=False,
                    endpoint=endpoint,
                    etag_timeout=_PATIENCE_SECONDS,
                )
    except RepositoryNotFoundError as error:
        raise TaskError("TASK", f"the hub has no public model {name}: look at the name") from error
    except HfHubHTTPError as error:
        raise TaskError("TASK", f"the hub does not hand out {name}: {error}") from error
    except (httpx2.HTTPError, OfflineModeIsEnabled, OSError) as error:
        raise TaskError(
            "WORKER",
            f"no network to the hub for {name} ({type(error).__name__}): upload its folder with "
            "`trainnet models upload FOLDER`, or run a trusted worker with network",
        ) from error
    return commit
