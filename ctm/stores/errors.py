"""Translate errors of the Hub and of huggingface_hub into one sentence."""

import errno
import time
from email.utils import parsedate_to_datetime

from huggingface_hub.errors import (
    BadRequestError,
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from ctm.stores.base import DownloadCancelled, StoreUnavailable
from ctm.stores.repo_ref import HubRef

MAX_RETRY_AFTER_S = 86_400.0
RETRYABLE_STATUS_CODES = {408, 409, 412, 425, 429, 500, 502, 503, 504}


def translate_hub_error(error: Exception, name: HubRef) -> ValueError:
    """Return the `ValueError` to raise for an error of the client; `StoreUnavailable` if a retry may succeed."""
    repo = name.repo
    match error:
        case StoreUnavailable() | DownloadCancelled():
            return error
        # Already a sentence, or the message of the client about an argument.
        case ValueError() if type(error) is ValueError:
            return error
        case LocalTokenNotFoundError():
            return ValueError("There is no token for the Hub: set HF_TOKEN to one with the right to write.")
        case GatedRepoError():
            return ValueError(f"{repo} is gated: only accounts that accept its terms on the Hub's page may read it.")
        case DisabledRepoError():
            return ValueError(f"{repo} has been disabled by the Hub.")
        case RevisionNotFoundError():
            return ValueError(f"{repo} has no revision {name.revision or 'main'!r}.")
        case RepositoryNotFoundError():
            return ValueError(f"There is no model {repo} on the Hub, or it is private and this app may not see it.")
        case RemoteEntryNotFoundError():
            return ValueError(f"{repo} lacks a file that a checkpoint needs.")
        case HfHubHTTPError():
            return _translate_status(error, name)
        case HFValidationError():
            return ValueError(f"{repo[:80]!r} is not the name of a model on the Hub.")
        # The client hides the cause of the cache miss.
        case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as cause):
            return translate_hub_error(cause, name)
        case OSError(errno=errno.ENOSPC):
            return ValueError(f"The disk is full: {repo} could not be stored.")
        case LocalEntryNotFoundError() | httpx.HTTPError() | OSError() | RuntimeError() | EntryNotFoundError():
            return StoreUnavailable(f"The Hub cannot be reached just now ({summarize_client_error(error)}).")
    return ValueError(f"The Hub's client failed on {repo}: {summarize_client_error(error)}.")


def _translate_status(error: HfHubHTTPError, name: HubRef) -> ValueError:
    """Return the error for an HTTP status."""
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return ValueError(
            "The Hub does not accept this token: make a new one with the right to write, and set HF_TOKEN."
        )
    if status == 403:
        return ValueError(f"This token may not do that with {name.repo}: it needs the right to write there.")
    if status == 404:
        return ValueError(f"There is no model {name.repo} on the Hub, or it is private and this app may not see it.")
    if status in RETRYABLE_STATUS_CODES:
        wait = parse_retry_after(error)
        when = f"; it asks to wait {wait:.0f} s" if wait else ""
        return StoreUnavailable(f"The Hub is busy or out of order (HTTP {status}){when}.", wait)
    if isinstance(error, BadRequestError):
        return ValueError(f"The Hub rejected the request for {name.repo}: {summarize_client_error(error)}.")
    return ValueError(f"The Hub answered HTTP {status} for {name.repo}.")


def parse_retry_after(error: HfHubHTTPError) -> float | None:
    """Return the seconds of a `Retry-After` header, given as a number or as a date; None if there is none."""
    value = error.response.headers.get("Retry-After", "").strip() if error.response is not None else ""
    if value.isdigit():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def summarize_client_error(error: Exception) -> str:
    """Return the first line of an error message, at most 160 characters, without a final period."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text[:160].rstrip(".")
