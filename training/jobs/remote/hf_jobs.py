"""Client of Hugging Face Jobs: runs a command in the image of a Space on rented hardware.

The job methods of `huggingface_hub` have no timeout, and its log stream cannot be cancelled. This client therefore
sends the same requests through the session of `huggingface_hub`, each with a timeout.
"""

import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from huggingface_hub import HfApi, JobHardwareInfo, JobInfo
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, get_token_to_send, hf_raise_for_status, httpx

from ctm.stores import HubRef, StoreUnavailable
from ctm.stores.errors import translate_hub_error
from ctm.stores.hub import CLIENT_ERRORS, MALFORMED_RESPONSE_ERRORS
from training.jobs.remote.log_stream import LogCursor, LogStream

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
PRICE_UNITS_PER_HOUR = {"second": 3600, "minute": 60, "hour": 1}
MIN_TIMEOUT_MINUTES = 10
MAX_TIMEOUT_MINUTES = 7 * 24 * 60
# Account names and job ids.
HUB_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
LABEL_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,100}")
TOKEN_SECRET = "HF_TOKEN"
BILLING_URL = "https://huggingface.co/settings/billing"

FLAVOR_CACHE_TTL_S = 600.0
# After this time without a log line, check whether the job has finished.
IDLE_CHECK_INTERVAL_S = 30.0
# Maximum time between two bytes of a log; the Hub sends a keep-alive at least every 30 seconds.
READ_TIMEOUT_S = 90.0
# Delay before a log that ended is opened again while its job runs.
RECONNECT_INTERVAL_S = 5.0
# Delays before the attempts after a failure; after the last one the log is abandoned.
RETRY_BACKOFF_S = (
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    60.0,
    60.0,
)


@dataclass(frozen=True)
class HardwareFlavor:
    """Hardware that a job can run on.

    Attributes:
        name: Identifier, such as `l4x1`.
        pretty_name: Name for display.
        cpu: Such as `8 vCPU`.
        ram: Such as `30 GB`.
        accelerator: Such as `1 x Nvidia L4 (24 GB)`; empty if there is none.
        price_per_hour: US dollars per hour; None if the unit of the Hub's price is unknown.
        devices: Number of accelerators, each with its own training process; 1 if there is none.
    """

    name: str
    pretty_name: str
    cpu: str
    ram: str
    accelerator: str
    price_per_hour: float | None
    devices: int = 1


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

    def __init__(self, token: str | None = None, endpoint: str | None = None, timeout_s: float = 10.0):
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
        target = HubRef.parse(space)
        if str(target) != target.repo:
            raise ValueError(f"The image of a Space is needed, without revision and directory: got {space[:80]!r}.")
        if not LABEL_PATTERN.fullmatch(name):
            raise ValueError(f"A job is named with letters, digits, - and _, 100 at most: got {name[:120]!r}.")
        if not MIN_TIMEOUT_MINUTES <= timeout_minutes <= MAX_TIMEOUT_MINUTES:
            raise ValueError(
                f"A job is given {MIN_TIMEOUT_MINUTES} to {MAX_TIMEOUT_MINUTES} minutes: got timeout_minutes={timeout_minutes}."
            )
        flavor_names = [known.name for known in self.list_flavors()]
        if flavor not in flavor_names:
            raise ValueError(f"There is no hardware {flavor[:80]!r} for jobs: choose one of {', '.join(flavor_names)}.")
        token = self._get_token()
        if TOKEN_SECRET in env or any(token in text for text in (*command, *env, *env.values(), name)):
            raise ValueError("The token is sent as a secret only: take it out of the command and the environment.")
        spec = {
            "spaceId": target.repo,
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
        """Yield the log lines of a job from its first line on until the job has finished.

        A broken connection is opened again. The Hub then sends the log from its beginning, and the lines that were
        already yielded are skipped.

        Args:
            namespace: Account that owns the job.
            job_id: Id on the Hub.
            cancel_event: Ends the generator within seconds when set, whatever it waits for.

        Yields:
            Lines without their line end.
        """
        cursor = LogCursor()
        is_finished = False
        num_failures = 0
        while not cancel_event.is_set():
            num_lines = cursor.num_lines
            try:
                if (yield from self._read_log(namespace, job_id, cancel_event, cursor, is_finished)):
                    return
                is_finished = self.inspect(namespace, job_id).is_finished
                num_failures = 0
                delay_s = RECONNECT_INTERVAL_S
            except StoreUnavailable:
                num_failures = 1 if cursor.num_lines > num_lines else num_failures + 1
                if num_failures > len(RETRY_BACKOFF_S):
                    raise
                delay_s = RETRY_BACKOFF_S[num_failures - 1]
            if num_failures or not is_finished:
                cancel_event.wait(delay_s)

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

    def _read_log(
        self, namespace: str, job_id: str, cancel_event: threading.Event, cursor: LogCursor, is_finished: bool
    ) -> Generator[str, None, bool]:
        """Yield the new lines of one connection.

        Returns:
            Whether the log was read to its end after the job had finished.
        """
        index = 0
        is_caught_up = False
        last_line_at = time.monotonic()
        with closing(
            LogStream(self._stream_log(build_job_path(namespace, job_id, "logs"), self._build_headers()))
        ) as stream:
            while not cancel_event.is_set():
                try:
                    with translate_job_error(namespace, job_id):
                        line = stream.read_line()
                except EOFError:
                    if is_finished and not stream.is_open:
                        raise StoreUnavailable(
                            f"The Hub does not open the log of the job {job_id} of {namespace}."
                        ) from None
                    return is_finished
                if line is not None:
                    last_line_at = time.monotonic()
                    is_caught_up = is_caught_up or cursor.is_new(index, line)
                    index += 1
                    if is_caught_up:
                        cursor.advance(line)
                        yield line.text
                elif is_finished and stream.is_open and time.monotonic() - last_line_at > self.timeout_s:
                    return True
                elif not is_finished and time.monotonic() - last_line_at > IDLE_CHECK_INTERVAL_S:
                    is_finished = self.inspect(namespace, job_id).is_finished
                    last_line_at = time.monotonic()
        return False

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


def parse_flavor(info: JobHardwareInfo) -> HardwareFlavor:
    """Convert the hardware description of the Hub."""
    chip = info.accelerator
    units_per_hour = PRICE_UNITS_PER_HOUR.get(info.unit_label)
    return HardwareFlavor(
        name=info.name,
        pretty_name=info.pretty_name,
        cpu=info.cpu,
        ram=info.ram,
        accelerator=f"{chip.quantity} x {chip.manufacturer} {chip.model} ({chip.vram})" if chip else "",
        price_per_hour=round(info.unit_cost_usd * units_per_hour, 3) if units_per_hour else None,
        devices=max(1, int(chip.quantity)) if chip else 1,
    )


def build_job_path(namespace: str, job_id: str = "", action: str = "") -> str:
    """Build the path of a request below `/api/jobs/`.

    Raises:
        ValueError: The account name or the job id is invalid.
    """
    for kind, text in (("an account", namespace), ("a job", job_id or namespace)):
        if not HUB_NAME_PATTERN.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not the name of {kind} on the Hub.")
    return "/".join(part for part in (namespace, job_id, action) if part)


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
