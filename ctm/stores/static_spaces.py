"""Upload of a static Space: a web page on the Hub without a server."""

from pathlib import Path

from huggingface_hub import HfApi

from ctm.stores.base import Commit
from ctm.stores.errors import translate_hub_error
from ctm.stores.hub import CLIENT_ERRORS, MALFORMED_RESPONSE_ERRORS
from ctm.stores.repo_ref import HubRef

COMMIT_MESSAGE = "Upload the exported page"


def upload_static_space(
    folder: Path, name: str, *, private: bool = False, token: str | bool | None = None, endpoint: str | None = None
) -> Commit:
    """Upload the files of a directory as one commit; create the Space if it does not exist.

    Args:
        folder: Directory with index.html and README.md.
        name: Name of the Space, `namespace/name`.
        private: Whether a new Space is private.
        token: Access token with the right to write; None uses the token of the environment.
        endpoint: URL of another Hub.

    Returns:
        The commit.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: The name is invalid, or the token may not write there. The message is one sentence.
    """
    target = HubRef.parse(name)
    if target.revision or target.subfolder:
        raise ValueError(f"A Space is uploaded to its main branch: name it as namespace/name, got {name[:80]!r}.")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(target.repo, repo_type="space", space_sdk="static", private=private or None, exist_ok=True)
        result = api.upload_folder(
            repo_id=target.repo, folder_path=folder, repo_type="space", commit_message=COMMIT_MESSAGE
        )
    except (*CLIENT_ERRORS, *MALFORMED_RESPONSE_ERRORS) as error:
        raise translate_hub_error(error, target) from None
    return Commit(result.oid, f"{api.endpoint}/spaces/{target.repo}")
