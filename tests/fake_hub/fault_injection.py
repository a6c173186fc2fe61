"""Faults on command: what goes wrong, with which requests, and how often.

| kind | what the client sees |
|---|---|
| `answer` | `status` with `headers`, `code` and `message`; nothing was done |
| `gated`, `disabled` | the Hub's refusals of that name |
| `drop` | the connection is closed at once; nothing was done |
| `lost_reply` | the connection is closed without an answer, after the work was done |
| `stall` | nothing for `seconds`, then the usual |
| `cut` | a download that ends after `at` bytes of those promised |
| `wrong_bytes` | a download of the right length with wrong bytes from `at` on |
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.fake_hub.messages import Answer, Refused, Request

FaultKind = Literal["answer", "gated", "disabled", "drop", "lost_reply", "stall", "cut", "wrong_bytes"]
INSTEAD = ("answer", "gated", "disabled", "drop", "stall")  # of the work; the others strike after it
INVERTED = bytes(255 - byte for byte in range(256))


@dataclass
class Fault:
    """One fault. It strikes `times` matching requests (None: every one) after letting `after` of them pass."""

    kind: FaultKind
    path: str = ""  # searched for in the target, query included
    method: str | None = None
    times: int | None = 1
    after: int = 0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    seconds: float = 60.0
    at: int | None = None  # the middle of the body, unless told
    matched: int = 0
    struck: int = 0
    lifted: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(get_args(FaultKind))}")

    def lift(self) -> None:
        self.lifted = True

    def strikes(self, request: Request, answer: Answer | None) -> bool:
        """Whether it strikes now; before the work there is no answer yet."""
        if self.lifted or (answer is None) != (self.kind in INSTEAD) or not self.concerns(request, answer):
            return False
        self.matched += 1
        if self.matched <= self.after or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def concerns(self, request: Request, answer: Answer | None) -> bool:
        if self.method not in (None, request.method) or not re.search(self.path, request.plain()):
            return False
        downloads = request.method == "GET" and answer is not None and answer.status in (200, 206) and answer.body
        return bool(downloads) or self.kind not in ("cut", "wrong_bytes")

    def answer(self) -> Answer:
        match self.kind:
            case "gated":
                return Refused(403, "GatedRepo", "Access to this repository is restricted").answer
            case "disabled":
                return Refused(403, message="Access to this resource is disabled.").answer
        return Refused(self.status, self.code, self.message, self.headers).answer

    def offset(self, answer: Answer) -> int:
        return len(answer.body) // 2 if self.at is None else self.at

    def spoilt(self, answer: Answer) -> Answer:
        at = self.offset(answer)
        return Answer(answer.status, answer.body[:at] + answer.body[at:].translate(INVERTED), answer.headers)


class Faults:
    """The faults in force; the one that was ordered first strikes, and the others do not hear of that request."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def strike(self, request: Request, answer: Answer | None = None) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.strikes(request, answer)), None)
