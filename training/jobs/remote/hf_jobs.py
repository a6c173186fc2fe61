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

from ctm.stores import HubName, Unavailable
from ctm.stores.errors import refusal
from ctm.stores.hub import FAILURES, NONSENSE
from training.jobs.remote.log_stream import LogStream, Place

Stage = Literal["waiting", "running", "completed", "cancelled", "error", "lost"]

STAGES: dict[str, Stage] = {
    "SCHEDULING": "waiting",
    "RUNNING": "running",
    "COMPLETED": "completed",
    "CANCELED": "cancelled",
    "ERROR": "error",
    "DELETED": "lost",
}
OVER = ("completed", "cancelled", "error", "lost")
HOURLY = {"second": 3600, "minute": 60, "hour": 1}  # units of the Hub's prices in an hour
SHORTEST, LONGEST = 10, 7 * 24 * 60  # minutes that a job may be given
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")  # of an account, and a job's id
LABEL = re.compile(r"[A-Za-z0-9_-]{1,100}")
TOKEN = "HF_TOKEN"
BILLING = "https://huggingface.co/settings/billing"

FRESH = 600.0  # seconds that a list of hardware is believed
QUIET = 30.0  # seconds without a line after which to ask whether the job is over
DEAD = 90.0  # seconds without a byte; the Hub sends one every 30 seconds at least
REST = 5.0  # seconds before a log that ended is asked for again, as long as its job goes on
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0)  # seconds before each try after a failure; then it is given up


@dataclass(frozen=True)
class Flavour:
    """Hardware to choose from."""

    name: str
    title: str
    cores: str  # "8 vCPU"
    memory: str  # "30 GB"
    accelerator: str  # "1 x Nvidia L4 (24 GB)"; empty if there is none
    price: float | None  # dollars an hour; None where the Hub's unit is not known here
    devices: int = 1  # accelerators, each of which takes a process; 1 where there is none


@dataclass(frozen=True)
class RemoteJob:
    """A job as the Hub tells of it."""

    id: str
    stage: Stage
    message: str
    url: str
    flavour: str

    @property
    def is_over(self) -> bool:
        return self.stage in OVER


class RemoteJobs:
    """Hugging Face Jobs, asked with one token.

    All errors are `ValueError` with one sentence; `Unavailable` where waiting may help.

    Args:
        token: whose jobs they are, and who pays; the token of the environment unless given.
        endpoint: another Hub.
        seconds: how long to wait for a single answer.
    """

    def __init__(self, token: str | None = None, endpoint: str | None = None, seconds: float = 10.0):
        self._given, self.seconds = token, seconds
        self.endpoint = HfApi(endpoint=endpoint).endpoint
        self._flavours: tuple[float, list[Flavour]] = (0.0, [])

    def flavours(self) -> list[Flavour]:
        """The hardware there is, cheapest first."""
        asked, known = self._flavours
        if not known or time.monotonic() - asked > FRESH:
            with sentences("the hardware for jobs", "The Hub lists no hardware for jobs."):
                known = [flavour_of(JobHardwareInfo(**said)) for said in self._ask("GET", "hardware").json()]
            known.sort(key=lambda flavour: (flavour.price is None, flavour.price or 0.0, flavour.name))
            self._flavours = (time.monotonic(), known)
        return list(known)

    def submit(
        self,
        *,
        space: str,
        command: list[str],
        env: Mapping[str, str],
        flavour: str,
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
        target = HubName.read(space)
        if str(target) != target.repo:
            raise ValueError(f"The image of a Space is meant, without revision and folder: got {space[:80]!r}.")
        if not LABEL.fullmatch(name):
            raise ValueError(f"A job is named with letters, digits, - and _, 100 at most: got {name[:120]!r}.")
        if not SHORTEST <= timeout_minutes <= LONGEST:
            raise ValueError(f"A job is given {SHORTEST} to {LONGEST} minutes: got timeout_minutes={timeout_minutes}.")
        listed = [known.name for known in self.flavours()]
        if flavour not in listed:
            raise ValueError(f"There is no hardware {flavour[:80]!r} for jobs: choose one of {', '.join(listed)}.")
        token = self._token()
        if TOKEN in env or any(token in text for text in (*command, *env, *env.values(), name)):
            raise ValueError("The token is sent as a secret only: take it out of the command and the environment.")
        spec = {
            "spaceId": target.repo,
            "command": command,
            "arguments": [],
            "environment": dict(env),
            "flavor": flavour,
            "secrets": {TOKEN: token},
            "timeoutSeconds": 60 * timeout_minutes,
            "labels": {"name": name},
        }
        return self._named(namespace, name) or self._start(namespace, name, spec)

    def inspect(self, namespace: str, id: str) -> RemoteJob:
        """What has become of a job."""
        with about_job(namespace, id):
            return self._read(self._ask("GET", path_of(namespace, id)).json())

    def follow(self, namespace: str, id: str, give_up: threading.Event) -> Iterator[str]:
        """The lines of a job's log from its first one on, as they come, until the job is over.

        A broken connection is made anew: the Hub tells the log from its beginning, and what was given is left out.

        Args:
            give_up: ends it soon, whatever is being waited for.
        """
        place, over, failures = Place(), False, 0
        while not give_up.is_set():
            before = place.given
            try:
                if (yield from self._read_log(namespace, id, give_up, place, over)):
                    return
                over, failures, pause = self.inspect(namespace, id).is_over, 0, REST
            except Unavailable:
                failures = 1 if place.given > before else failures + 1
                if failures > len(PAUSES):
                    raise
                pause = PAUSES[failures - 1]
            if failures or not over:
                give_up.wait(pause)

    def cancel(self, namespace: str, id: str) -> None:
        """End a job; one that is over stays as it is."""
        try:
            with about_job(namespace, id):
                self._ask("POST", path_of(namespace, id, "cancel"))
        except ValueError:
            if not self.inspect(namespace, id).is_over:
                raise

    def withdraw(self, namespace: str, name: str) -> None:
        """End the job of this name, if there is one that goes on."""
        found = self._named(namespace, name)
        if found and not found.is_over:
            self.cancel(namespace, found.id)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _start(self, namespace: str, name: str, spec: dict[str, Any]) -> RemoteJob:
        missing = f"The Hub knows no account {namespace} or no Space {spec['spaceId']}, or this token may not see it."
        try:
            with sentences(f"the jobs of {namespace}", missing):
                return self._read(self._ask("POST", path_of(namespace), json=spec).json())
        except Unavailable:  # the job may be there, and only the answer be lost
            if (found := self._named(namespace, name)) is None:
                raise
            return found

    def _named(self, namespace: str, name: str) -> RemoteJob | None:
        """The newest job of this name."""
        missing = f"The Hub knows no account {namespace}, or this token may not see its jobs."
        with sentences(f"the jobs of {namespace}", missing):
            listed = self._ask("GET", path_of(namespace), params={"label": f"name={name}"}).json()
            found = [said for said in listed if (said.get("labels") or {}).get("name") == name]
            return self._read(max(found, key=lambda said: said.get("createdAt") or "")) if found else None

    def _read(self, said: dict[str, Any]) -> RemoteJob:
        info = JobInfo(**said, endpoint=self.endpoint)
        stage = STAGES.get(info.status.stage, "running")  # one that is not known here is no end
        return RemoteJob(info.id, stage, info.status.message or "", info.url, str(info.flavor or ""))

    def _read_log(
        self, namespace: str, id: str, give_up: threading.Event, place: Place, over: bool
    ) -> Generator[str, None, bool]:
        """What one connection brings of the log; true if it was read to an end after that of the job."""
        index, caught_up, heard = 0, False, time.monotonic()
        with closing(LogStream(self._log_of(path_of(namespace, id, "logs"), self._headers()))) as stream:
            while not give_up.is_set():
                try:
                    with about_job(namespace, id):
                        line = stream.next()
                except EOFError:
                    if over and not stream.is_open:
                        raise Unavailable(f"The Hub does not open the log of the job {id} of {namespace}.") from None
                    return over
                if line is not None:
                    heard = time.monotonic()
                    caught_up = caught_up or place.is_new(index, line)
                    index += 1
                    if caught_up:
                        place.pass_by(line)
                        yield line.text
                elif over and stream.is_open and time.monotonic() - heard > self.seconds:
                    return True
                elif not over and time.monotonic() - heard > QUIET:
                    over, heard = self.inspect(namespace, id).is_over, time.monotonic()
        return False

    def _log_of(self, path: str, headers: dict[str, str]) -> Iterator[bytes]:
        limits = httpx.Timeout(self.seconds, read=DEAD)
        try:
            with get_session().stream("GET", self._address(path), headers=headers, timeout=limits) as response:
                if response.is_error:
                    response.read()
                hf_raise_for_status(response)
                yield b""
                yield from response.iter_bytes()
        except httpx.ReadTimeout:  # as a log that has nothing to say: whether the job is over tells them apart
            return

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        address = self._address(path)
        response = get_session().request(method, address, headers=self._headers(), timeout=self.seconds, **content)
        hf_raise_for_status(response)
        return response

    def _address(self, path: str) -> str:
        return f"{self.endpoint}/api/jobs/{path}"

    def _headers(self) -> dict[str, str]:
        return build_hf_headers(token=self._token())

    def _token(self) -> str:
        if not (token := self._given or get_token_to_send(None)):
            raise refusal(LocalTokenNotFoundError(), HubName("the jobs"))
        return token


def flavour_of(info: JobHardwareInfo) -> Flavour:
    chip, hourly = info.accelerator, HOURLY.get(info.unit_label)
    return Flavour(
        name=info.name,
        title=info.pretty_name,
        cores=info.cpu,
        memory=info.ram,
        accelerator=f"{chip.quantity} x {chip.manufacturer} {chip.model} ({chip.vram})" if chip else "",
        price=round(info.unit_cost_usd * hourly, 3) if hourly else None,
        devices=max(1, int(chip.quantity)) if chip else 1,
    )


def path_of(namespace: str, id: str = "", action: str = "") -> str:
    for what, text in (("an account", namespace), ("a job", id or namespace)):
        if not NAME.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not the name of {what} on the Hub.")
    return "/".join(part for part in (namespace, id, action) if part)


def about_job(namespace: str, id: str) -> AbstractContextManager[None]:
    return sentences(f"the job {id} of {namespace}", f"{namespace} has no job {id}, or this token may not see it.")


@contextmanager
def sentences(what: str, missing: str) -> Iterator[None]:
    """Turn whatever the client raises into one sentence.

    Args:
        what: what the Hub was asked about.
        missing: what it means if the Hub does not find it.
    """
    try:
        yield
    except (*FAILURES, *NONSENSE) as error:
        match error:
            case HfHubHTTPError(response=httpx.Response(status_code=402)):
                raise ValueError(f"There is no credit for {what}: jobs are paid in advance, at {BILLING}.") from None
            case HfHubHTTPError(response=httpx.Response(status_code=403)):
                raise ValueError(f"This token may not do that with {what}: it needs the right to run jobs.") from None
            case HfHubHTTPError(response=httpx.Response(status_code=404)):
                raise ValueError(missing) from None
        raise refusal(error, HubName(what)) from None
