"""Runs on hardware of Hugging Face Jobs, in the image of a Space: the same code, a bigger machine, paid by the hour.

The calls that the Hub's client has for this wait without limit, and its log cannot be given up. So the client's session is
asked here for the same addresses, each time with a limit.
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
PRICE_UNITS_PER_HOUR = {"second": 3600, "minute": 60, "hour": 1}  # units of the Hub's prices in an hour
MIN_TIMEOUT_MINUTES, MAX_TIMEOUT_MINUTES = 10, 7 * 24 * 60  # minutes that a job may be given
HUB_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")  # of an account, and a job's id
LABEL_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,100}")
TOKEN_SECRET = "HF_TOKEN"
BILLING_URL = "https://huggingface.co/settings/billing"

FLAVOR_CACHE_TTL_S = 600.0  # seconds that a list of hardware is believed
IDLE_CHECK_INTERVAL_S = 30.0  # seconds without a line after which to ask whether the job is over
READ_TIMEOUT_S = 90.0  # seconds without a byte; the Hub sends one every 30 seconds at least
RECONNECT_INTERVAL_S = 5.0  # seconds before a log that ended is asked for again, as long as its job goes on
RETRY_BACKOFF_S = (
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    60.0,
    60.0,
)  # seconds before each try after a failure; then it is given up


@dataclass(frozen=True)
class HardwareFlavor:
    """Hardware to choose from."""

    name: str
    pretty_name: str
    cpu: str  # "8 vCPU"
    ram: str  # "30 GB"
    accelerator: str  # "1 x Nvidia L4 (24 GB)"; empty if there is none
    price_per_hour: float | None  # dollars an hour; None where the Hub's unit is not known here
    devices: int = 1  # accelerators, each of which takes a process; 1 where there is none


@dataclass(frozen=True)
class RemoteJob:
    """A job as the Hub tells of it."""

    job_id: str
    stage: RemoteJobStage
    message: str
    url: str
    flavor: str

    @property
    def is_finished(self) -> bool:
        return self.stage in FINISHED_STAGES


class HfJobsClient:
    """Hugging Face Jobs, asked with one token.

    All errors are `ValueError` with one sentence; `StoreUnavailable` where waiting may help.

    Args:
        token: whose jobs they are, and who pays; the token of the environment unless given.
        endpoint: another Hub.
        seconds: how long to wait for a single answer.
    """

    def __init__(self, token: str | None = None, endpoint: str | None = None, timeout_s: float = 10.0):
        self._explicit_token, self.timeout_s = token, timeout_s
        self.endpoint = HfApi(endpoint=endpoint).endpoint
        self._flavor_cache: tuple[float, list[HardwareFlavor]] = (0.0, [])

    def list_flavors(self) -> list[HardwareFlavor]:
        """The hardware there is, cheapest first."""
        asked, known = self._flavor_cache
        if not known or time.monotonic() - asked > FLAVOR_CACHE_TTL_S:
            with translate_jobs_api_error("the hardware for jobs", "The Hub lists no hardware for jobs."):
                known = [parse_flavor(JobHardwareInfo(**said)) for said in self._request("GET", "hardware").json()]
            known.sort(
                key=lambda flavour: (flavour.price_per_hour is None, flavour.price_per_hour or 0.0, flavour.name)
            )
            self._flavor_cache = (time.monotonic(), known)
        return list(known)

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
        """Let a command run in the image of a Space.

        The name must be unique: a job whose answer got lost is recognised by it, and not started again. The token reaches
        the job as the secret HF_TOKEN and in no other way.

        Args:
            space: whose image is taken, namespace/name.
            env: what the job's environment holds besides; whoever may see the job can read it.
            timeout_minutes: after which the Hub ends the job.
            namespace: the account that the job belongs to, and that pays.
        """
        target = HubRef.parse(space)
        if str(target) != target.repo:
            raise ValueError(f"The image of a Space is meant, without revision and folder: got {space[:80]!r}.")
        if not LABEL_PATTERN.fullmatch(name):
            raise ValueError(f"A job is named with letters, digits, - and _, 100 at most: got {name[:120]!r}.")
        if not MIN_TIMEOUT_MINUTES <= timeout_minutes <= MAX_TIMEOUT_MINUTES:
            raise ValueError(
                f"A job is given {MIN_TIMEOUT_MINUTES} to {MAX_TIMEOUT_MINUTES} minutes: got timeout_minutes={timeout_minutes}."
            )
        listed = [known.name for known in self.list_flavors()]
        if flavor not in listed:
            raise ValueError(f"There is no hardware {flavor[:80]!r} for jobs: choose one of {', '.join(listed)}.")
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
        """What has become of a job."""
        with translate_job_error(namespace, job_id):
            return self._parse_job(self._request("GET", build_job_path(namespace, job_id)).json())

    def follow(self, namespace: str, job_id: str, cancel_event: threading.Event) -> Iterator[str]:
        """The lines of a job's log from its first one on, as they come, until the job is over.

        A broken connection is made anew: the Hub tells the log from its beginning, and what was given is left out.

        Args:
            give_up: ends it soon, whatever is being waited for.
        """
        place, over, failures = LogCursor(), False, 0
        while not cancel_event.is_set():
            before = place.num_lines
            try:
                if (yield from self._read_log(namespace, job_id, cancel_event, place, over)):
                    return
                over, failures, pause = self.inspect(namespace, job_id).is_finished, 0, RECONNECT_INTERVAL_S
            except StoreUnavailable:
                failures = 1 if place.num_lines > before else failures + 1
                if failures > len(RETRY_BACKOFF_S):
                    raise
                pause = RETRY_BACKOFF_S[failures - 1]
            if failures or not over:
                cancel_event.wait(pause)

    def cancel(self, namespace: str, job_id: str) -> None:
        """End a job; one that is over stays as it is."""
        try:
            with translate_job_error(namespace, job_id):
                self._request("POST", build_job_path(namespace, job_id, "cancel"))
        except ValueError:
            if not self.inspect(namespace, job_id).is_finished:
                raise

    def cancel_by_name(self, namespace: str, name: str) -> None:
        """End the job of this name, if there is one that goes on."""
        found = self._find_by_name(namespace, name)
        if found and not found.is_finished:
            self.cancel(namespace, found.job_id)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _create_job(self, namespace: str, name: str, spec: dict[str, Any]) -> RemoteJob:
        missing = f"The Hub knows no account {namespace} or no Space {spec['spaceId']}, or this token may not see it."
        try:
            with translate_jobs_api_error(f"the jobs of {namespace}", missing):
                return self._parse_job(self._request("POST", build_job_path(namespace), json=spec).json())
        except StoreUnavailable:  # the job may be there, and only the answer be lost
            if (found := self._find_by_name(namespace, name)) is None:
                raise
            return found

    def _find_by_name(self, namespace: str, name: str) -> RemoteJob | None:
        """The newest job of this name."""
        missing = f"The Hub knows no account {namespace}, or this token may not see its jobs."
        with translate_jobs_api_error(f"the jobs of {namespace}", missing):
            listed = self._request("GET", build_job_path(namespace), params={"label": f"name={name}"}).json()
            found = [said for said in listed if (said.get("labels") or {}).get("name") == name]
            return self._parse_job(max(found, key=lambda said: said.get("createdAt") or "")) if found else None

    def _parse_job(self, response_data: dict[str, Any]) -> RemoteJob:
        info = JobInfo(**response_data, endpoint=self.endpoint)
        stage = HUB_STAGES.get(info.status.stage, "running")  # one that is not known here is no end
        return RemoteJob(info.id, stage, info.status.message or "", info.url, str(info.flavor or ""))

    def _read_log(
        self, namespace: str, job_id: str, cancel_event: threading.Event, cursor: LogCursor, is_finished: bool
    ) -> Generator[str, None, bool]:
        """What one connection brings of the log; true if it was read to an end after that of the job."""
        index, caught_up, heard = 0, False, time.monotonic()
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
                    heard = time.monotonic()
                    caught_up = caught_up or cursor.is_new(index, line)
                    index += 1
                    if caught_up:
                        cursor.advance(line)
                        yield line.text
                elif is_finished and stream.is_open and time.monotonic() - heard > self.timeout_s:
                    return True
                elif not is_finished and time.monotonic() - heard > IDLE_CHECK_INTERVAL_S:
                    is_finished, heard = self.inspect(namespace, job_id).is_finished, time.monotonic()
        return False

    def _stream_log(self, path: str, headers: dict[str, str]) -> Iterator[bytes]:
        limits = httpx.Timeout(self.timeout_s, read=READ_TIMEOUT_S)
        try:
            with get_session().stream("GET", self._build_url(path), headers=headers, timeout=limits) as response:
                if response.is_error:
                    response.read()
                hf_raise_for_status(response)
                yield b""
                yield from response.iter_bytes()
        except httpx.ReadTimeout:  # as a log that has nothing to say: whether the job is over tells them apart
            return

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        address = self._build_url(path)
        response = get_session().request(
            method, address, headers=self._build_headers(), timeout=self.timeout_s, **content
        )
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
    chip, hourly = info.accelerator, PRICE_UNITS_PER_HOUR.get(info.unit_label)
    return HardwareFlavor(
        name=info.name,
        pretty_name=info.pretty_name,
        cpu=info.cpu,
        ram=info.ram,
        accelerator=f"{chip.quantity} x {chip.manufacturer} {chip.model} ({chip.vram})" if chip else "",
        price_per_hour=round(info.unit_cost_usd * hourly, 3) if hourly else None,
        devices=max(1, int(chip.quantity)) if chip else 1,
    )


def build_job_path(namespace: str, job_id: str = "", action: str = "") -> str:
    for what, text in (("an account", namespace), ("a job", job_id or namespace)):
        if not HUB_NAME_PATTERN.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not the name of {what} on the Hub.")
    return "/".join(part for part in (namespace, job_id, action) if part)


def translate_job_error(namespace: str, job_id: str) -> AbstractContextManager[None]:
    return translate_jobs_api_error(
        f"the job {job_id} of {namespace}", f"{namespace} has no job {job_id}, or this token may not see it."
    )


@contextmanager
def translate_jobs_api_error(subject: str, not_found_message: str) -> Iterator[None]:
    """Turn whatever the client raises into one sentence.

    Args:
        what: what the Hub was asked about.
        missing: what it means if the Hub does not find it.
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
