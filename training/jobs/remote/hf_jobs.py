"""Client of Hugging Face Jobs: runs a command in the image of a Space on rented hardware.

The job methods of `huggingface_hub` have no timeout, and its log stream cannot be cancelled. This client therefore
sends the same requests through the session of `huggingface_hub`, each with a timeout.
"""

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from huggingface_hub import HfApi, JobHardwareInfo, JobInfo
from huggingface_hub.errors import LocalTokenNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, get_token_to_send, hf_raise_for_status, httpx

from ctm.stores import HubRef, StoreUnavailable
from ctm.stores.errors import translate_hub_error
from training.jobs.redaction import redact_token
from training.jobs.remote.errors import translate_job_error, translate_jobs_api_error
from training.jobs.remote.hardware import HardwareFlavor, parse_flavor
from training.jobs.remote.log_follower import LogFollower

RemoteJobStage = Literal["waiting", "running", "completed", "cancelled", "error", "lost"]

HUB_STAGES: dict[str, RemoteJobStage] = {
    "SCHEDULING": "waiting",
    "RUNNING": "running",
    "COMPLETED": "completed",
    "CANCELED": "cancelled",
    "ERROR": "error",
    "DELETED": "lost",
}
FINISHED_STAGES = ("completed", "cancelled", "error", "lost")
MIN_TIMEOUT_MINUTES = 10
MAX_TIMEOUT_MINUTES = 7 * 24 * 60
# Account names and job ids.
HUB_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
LABEL_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,100}")
TOKEN_SECRET = "HF_TOKEN"

FLAVOR_CACHE_TTL_S = 600.0
# Maximum time between two bytes of a log; the Hub sends a keep-alive at least every 30 seconds.
READ_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class RemoteJob:
    """State of a job on the Hub.

    Attributes:
        job_id: Id on the Hub.
        stage: Stage of the job, independent of the Hub's spelling.
        message: Message of the Hub about the stage; may be empty.
        url: Page of the job.
        flavor: Name of the hardware.
    """

    job_id: str
    stage: RemoteJobStage
    message: str
    url: str
    flavor: str

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended, for whatever reason."""
        return self.stage in FINISHED_STAGES


class HfJobsClient:
    """Client of Hugging Face Jobs for one token.

    All errors are `ValueError` with a message of one sentence; the subclass `StoreUnavailable` means that a later
    attempt may succeed.

    Args:
        token: Token of the account that owns the jobs and pays; the token of the environment if None.
        endpoint: URL of the Hub; the default Hub if None.
        timeout_s: Timeout of a single request in seconds.
    """

    def __init__(self, token: str | None = None, endpoint: str | None = None, timeout_s: float = 10.0) -> None:
        self._explicit_token = token
        self.timeout_s = timeout_s
        self.endpoint = HfApi(endpoint=endpoint).endpoint
        self._flavor_cache: tuple[float, list[HardwareFlavor]] = (0.0, [])

    def list_flavors(self) -> list[HardwareFlavor]:
        """Return the available hardware, cheapest first; cached for `FLAVOR_CACHE_TTL_S`."""
        fetched_at, flavors = self._flavor_cache
        if not flavors or time.monotonic() - fetched_at > FLAVOR_CACHE_TTL_S:
            with translate_jobs_api_error("the hardware for jobs", "The Hub lists no hardware for jobs."):
                response_data = self._request("GET", "hardware").json()
                flavors = [parse_flavor(JobHardwareInfo(**item)) for item in response_data]
            flavors.sort(key=lambda flavor: (flavor.price_per_hour is None, flavor.price_per_hour or 0.0, flavor.name))
            self._flavor_cache = (time.monotonic(), flavors)
        return list(flavors)

    def submit(
        self,
        *,
        space: str,
        command: list[str],
        env: Mapping[str, str],
        flavor: str,
        timeout_minutes: int,
        namespace: str,
        name: str,
    ) -> RemoteJob:
        """Run a command in the image of a Space.

        If a job of this name exists, it is returned and no second one is started: the response to an earlier request
        may have been lost. The job receives the token only as the secret HF_TOKEN.

        Args:
            space: Space whose image is used, `namespace/name`.
            command: Program and arguments.
            env: Environment variables of the job; everyone who can see the job can read them.
            flavor: Name of the hardware.
            timeout_minutes: Minutes after which the Hub ends the job.
            namespace: Account that owns the job and pays.
            name: Unique name: letters, digits, - and _.

        Raises:
            ValueError: An argument is invalid, or the Hub rejects the job.
        """
        repo = parse_space(space)
        check_label(name)
        check_timeout(timeout_minutes)
        flavor_names = [known.name for known in self.list_flavors()]
        if flavor not in flavor_names:
            raise ValueError(f"There is no hardware {flavor[:80]!r} for jobs: choose one of {', '.join(flavor_names)}.")
        token = self._get_token()
        check_no_token(token, env, (*command, name))
        spec = {
            "spaceId": repo,
            "command": command,
            "arguments": [],
            "environment": dict(env),
            "flavor": flavor,
            "secrets": {TOKEN_SECRET: token},
            "timeoutSeconds": 60 * timeout_minutes,
            "labels": {"name": name},
        }
        return self._find_by_name(namespace, name) or self._create_job(namespace, name, spec)

    def inspect(self, namespace: str, job_id: str) -> RemoteJob:
        """Return the present state of a job."""
        with translate_job_error(namespace, job_id):
            return self._parse_job(self._request("GET", build_job_path(namespace, job_id)).json())

    def follow(self, namespace: str, job_id: str, cancel_event: threading.Event) -> Iterator[str]:
        """Follow the log lines of a job from its first line on until the job has finished; see `LogFollower`.

        Args:
            namespace: Account that owns the job.
            job_id: Id on the Hub.
            cancel_event: Ends the iterator within seconds when set, whatever it waits for.

        Returns:
            Iterator over the lines without their line end.

        Raises:
            ValueError: The names are invalid. The iterator raises `ValueError`, too; the subclass `StoreUnavailable`
                after all retries.
        """
        path = build_job_path(namespace, job_id, "logs")
        follower = LogFollower(
            open_log=lambda: self._stream_log(path, self._build_headers()),
            is_job_finished=lambda: self.inspect(namespace, job_id).is_finished,
            translate_errors=lambda: translate_job_error(namespace, job_id),
            job_name=f"the job {job_id} of {namespace}",
            silence_timeout_s=self.timeout_s,
        )
        return follower.follow(cancel_event)

    def cancel(self, namespace: str, job_id: str) -> None:
        """Cancel a job; a finished job stays as it is."""
        try:
            with translate_job_error(namespace, job_id):
                self._request("POST", build_job_path(namespace, job_id, "cancel"))
        except ValueError:
            if not self.inspect(namespace, job_id).is_finished:
                raise

    def cancel_by_name(self, namespace: str, name: str) -> None:
        """Cancel the job of this name, if there is one that has not finished."""
        job = self._find_by_name(namespace, name)
        if job and not job.is_finished:
            self.cancel(namespace, job.job_id)

    def redact_token(self, text: str) -> str:
        """Replace the token in a text of the Hub, such as a log line."""
        return redact_token(text, self._explicit_token or get_token_to_send(None) or "")

    # --- helpers -------------------------------------------------------------------------------------------------

    def _create_job(self, namespace: str, name: str, spec: dict[str, Any]) -> RemoteJob:
        missing = f"The Hub knows no account {namespace} or no Space {spec['spaceId']}, or this token may not see it."
        try:
            with translate_jobs_api_error(f"the jobs of {namespace}", missing):
                return self._parse_job(self._request("POST", build_job_path(namespace), json=spec).json())
        except StoreUnavailable:  # the job may exist although the response was lost
            if (job := self._find_by_name(namespace, name)) is None:
                raise
            return job

    def _find_by_name(self, namespace: str, name: str) -> RemoteJob | None:
        """Return the newest job of this name; None if there is none."""
        missing = f"The Hub knows no account {namespace}, or this token may not see its jobs."
        with translate_jobs_api_error(f"the jobs of {namespace}", missing):
            response_data = self._request("GET", build_job_path(namespace), params={"label": f"name={name}"}).json()
            jobs = [item for item in response_data if (item.get("labels") or {}).get("name") == name]
            return self._parse_job(max(jobs, key=lambda item: item.get("createdAt") or "")) if jobs else None

    def _parse_job(self, response_data: dict[str, Any]) -> RemoteJob:
        info = JobInfo(**response_data, endpoint=self.endpoint)
        stage = HUB_STAGES.get(info.status.stage, "running")  # an unknown stage is not a final one
        return RemoteJob(info.id, stage, info.status.message or "", info.url, str(info.flavor or ""))

    def _stream_log(self, path: str, headers: dict[str, str]) -> Iterator[bytes]:
        timeout = httpx.Timeout(self.timeout_s, read=READ_TIMEOUT_S)
        try:
            with get_session().stream("GET", self._build_url(path), headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                hf_raise_for_status(response)
                yield b""
                yield from response.iter_bytes()
        except httpx.ReadTimeout:  # treated as a silent log: the caller checks whether the job has finished
            return

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        url = self._build_url(path)
        response = get_session().request(method, url, headers=self._build_headers(), timeout=self.timeout_s, **content)
        hf_raise_for_status(response)
        return response

    def _build_url(self, path: str) -> str:
        return f"{self.endpoint}/api/jobs/{path}"

    def _build_headers(self) -> dict[str, str]:
        return build_hf_headers(token=self._get_token())

    def _get_token(self) -> str:
        if not (token := self._explicit_token or get_token_to_send(None)):
            raise translate_hub_error(LocalTokenNotFoundError(), HubRef("the jobs"))
        return token


def build_job_path(namespace: str, job_id: str = "", action: str = "") -> str:
    """Build the path of a request below `/api/jobs/`.

    Raises:
        ValueError: The account name or the job id is invalid.
    """
    for kind, text in (("an account", namespace), ("a job", job_id or namespace)):
        if not HUB_NAME_PATTERN.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not the name of {kind} on the Hub.")
    return "/".join(part for part in (namespace, job_id, action) if part)


def parse_space(space: str) -> str:
    """Return the repository of a Space.

    Args:
        space: `namespace/name`.

    Raises:
        ValueError: The name is invalid, or has a revision or a directory.
    """
    ref = HubRef.parse(space)
    if str(ref) != ref.repo:
        raise ValueError(f"The image of a Space is needed, without revision and directory: got {space[:80]!r}.")
    return ref.repo


def check_no_token(token: str, env: Mapping[str, str], texts: Iterable[str]) -> None:
    """Check that neither the environment nor other texts of a job contain the token: others may read them.

    Raises:
        ValueError: The token is in one of them.
    """
    if TOKEN_SECRET in env or any(token in text for text in (*env, *env.values(), *texts)):
        raise ValueError("The token is sent as a secret only: take it out of the command and the environment.")


def check_label(name: str) -> None:
    """Check that a job may have this name.

    Raises:
        ValueError: It may not.
    """
    if not LABEL_PATTERN.fullmatch(name):
        raise ValueError(f"A job is named with letters, digits, - and _, 100 at most: got {name[:120]!r}.")


def check_timeout(timeout_minutes: int) -> None:
    """Check that a job may have this time limit.

    Raises:
        ValueError: It may not.
    """
    if not MIN_TIMEOUT_MINUTES <= timeout_minutes <= MAX_TIMEOUT_MINUTES:
        raise ValueError(
            f"A job is given {MIN_TIMEOUT_MINUTES} to {MAX_TIMEOUT_MINUTES} minutes: got timeout_minutes={timeout_minutes}."
        )
