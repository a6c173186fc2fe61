"""Errors of Hugging Face Jobs as `ValueError` with a message of one sentence."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from ctm.stores import HubRef
from ctm.stores.errors import translate_hub_error
from ctm.stores.hub import CLIENT_ERRORS, MALFORMED_RESPONSE_ERRORS

BILLING_URL = "https://huggingface.co/settings/billing"


def translate_job_error(namespace: str, job_id: str) -> AbstractContextManager[None]:
    """Translate the errors of a request about one job; see `translate_jobs_api_error`."""
    return translate_jobs_api_error(
        f"the job {job_id} of {namespace}", f"{namespace} has no job {job_id}, or this token may not see it."
    )


@contextmanager
def translate_jobs_api_error(subject: str, not_found_message: str) -> Iterator[None]:
    """Translate the errors of the Hub client into `ValueError` with a message of one sentence.

    Args:
        subject: What the request is about, for the message.
        not_found_message: Message for HTTP status 404.

    Raises:
        ValueError: The request failed; the subclass `StoreUnavailable` if a later attempt may succeed.
    """
    try:
        yield
    except (*CLIENT_ERRORS, *MALFORMED_RESPONSE_ERRORS) as error:
        match error:
            case HfHubHTTPError(response=httpx.Response(status_code=402)):
                raise ValueError(
                    f"There is no credit for {subject}: jobs are paid in advance, at {BILLING_URL}."
                ) from None
            case HfHubHTTPError(response=httpx.Response(status_code=403)):
                raise ValueError(
                    f"This token may not do that with {subject}: it needs the right to run jobs."
                ) from None
            case HfHubHTTPError(response=httpx.Response(status_code=404)):
                raise ValueError(not_found_message) from None
        raise translate_hub_error(error, HubRef(subject)) from None
