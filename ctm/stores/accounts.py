"""Whose token it is: the Hub's accounts, asked for with the token of whoever visits."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, get_token_to_send, hf_raise_for_status, httpx

from ctm.stores.base import Unavailable
from ctm.stores.errors import shortened


@dataclass(frozen=True)
class Account:
    """A person's account.

    Args:
        name: as on the Hub.
        roles: organisation -> the person's role in it: admin, write, contributor or read.
    """

    name: str
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Answer:
    """What is known of one token; its lock is held while the Hub is asked, so that it is asked once."""

    asking: threading.Lock = field(default_factory=threading.Lock)
    account: Account | None = None
    refusal: ValueError | None = None
    until: float = 0.0


class Accounts:
    """Accounts by token. The Hub answers this question but a few times a minute, so answers are kept for a while.

    Args:
        endpoint: another Hub.
        seconds: how long to wait for an answer.
        kept: seconds for which an account is believed to be unchanged.
        retry: seconds for which a failure is kept.
        most: tokens that are remembered; the one that was not asked for longest is forgotten first.
        clock: seconds of any clock that never goes back.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        seconds: float = 10.0,
        kept: float = 300.0,
        retry: float = 10.0,
        most: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.endpoint, self.seconds, self.kept, self.retry, self.most = endpoint, seconds, kept, retry, most
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()  # by a hash: tokens are not kept
        self._lock = threading.Lock()

    def of(self, token: str) -> Account:
        """The account that a token belongs to.

        Raises:
            Unavailable: the Hub cannot be asked just now.
            ValueError: the Hub does not accept the token.
        """
        answer = self._answer(hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest())
        with answer.asking:
            if self._clock() >= answer.until:
                answer.account, answer.refusal = None, None
                try:
                    answer.account = self._ask(token)
                except ValueError as error:
                    answer.refusal = error
                answer.until = self._clock() + (self.kept if answer.account else self.retry)
            if answer.account is not None:
                return answer.account
            raise (
                Unavailable(str(answer.refusal))
                if isinstance(answer.refusal, Unavailable)
                else ValueError(str(answer.refusal))
            )

    def _answer(self, key: str) -> _Answer:
        with self._lock:
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > self.most:
                self._answers.popitem(last=False)
            return answer

    def _ask(self, token: str) -> Account:
        """Ask the Hub. The client's own `whoami` would wait without end, and ask for the owner where a token is empty."""
        if not token.isascii() or not token.isprintable() or not token.strip():
            raise ValueError("This is no token of the Hub.")
        address = f"{self.endpoint or constants.ENDPOINT}/api/whoami-v2"
        try:
            answer = get_session().get(address, headers=build_hf_headers(token=token), timeout=self.seconds)
            hf_raise_for_status(answer)
            return read_account(answer.json())
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code in (401, 403):
                raise ValueError("The Hub does not accept this token.") from None
            raise Unavailable(f"The Hub did not say whose account this is ({shortened(error)}).") from None
        except (httpx.HTTPError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise Unavailable(f"The Hub did not say whose account this is ({shortened(error)}).") from None


def read_account(said: Any) -> Account:
    """The account in the Hub's answer; LookupError, TypeError or AttributeError where the answer has another form."""
    roles = {one["name"]: one.get("roleInOrg") or "" for one in said.get("orgs") or ()}
    if not isinstance(said["name"], str):
        raise TypeError("the name is no text")
    return Account(said["name"], roles)


def token_here() -> str:
    """The token of this machine: of the environment, or of whoever logged in here; empty if there is none."""
    return get_token_to_send(None) or ""
