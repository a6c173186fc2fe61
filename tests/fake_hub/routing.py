"""From a method and a path to the function that answers."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.fake_hub.messages import HubHTTPError, Request, Response
from tests.fake_hub.state import HubState

Handler = Callable[..., Response]  # (store, request, **names of the pattern)
REPO = "/api/{kind}/{repo}"


@dataclass
class Routes:
    """Patterns such as `/lfs/{oid}`: a name stands for a part of the path, `{name*}` for one or more of them."""

    table: list[tuple[str, re.Pattern[str], Handler]] = field(default_factory=list)

    def route(self, method: str, *patterns: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.table += [(method, compile_pattern(pattern), handler) for pattern in patterns]
            return handler

        return register

    def __or__(self, others: "Routes") -> "Routes":
        return Routes(self.table + others.table)

    def dispatch(self, store: HubState, request: Request) -> Response:
        wanted = "GET" if request.method == "HEAD" else request.method
        for method, pattern, handler in self.table:
            if method == wanted and (found := pattern.fullmatch(request.path)):
                try:
                    return handler(store, request, **{name: unquote(text) for name, text in found.groupdict().items()})
                except HubHTTPError as refusal:
                    return refusal.response
        return HubHTTPError(501, message=f"This hub does not serve {request.method} {request.path}").response


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression for a pattern; `{kind}` is a type of repository, `{repo}` an owner and a name."""
    special = {"kind": "(?P<kind>models|datasets|spaces)", "repo": "(?P<repo>[^/]+/[^/]+?)"}
    pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", pattern)
    return re.compile(re.sub(r"\{(\w+)\}", lambda name: special.get(name[1], f"(?P<{name[1]}>[^/]+)"), pattern))
