"""Routes: the handler of a method and a path."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.fake_hub.messages import HubHTTPError, Request, Response
from tests.fake_hub.state import HubState

Handler = Callable[..., Response]  # (state, request, **names of the pattern)
REPO = "/api/{kind}/{repo}"


@dataclass
class Routes:
    """Routes with patterns such as `/lfs/{oid}`: `{name}` matches one part of the path, `{name*}` one or more."""

    table: list[tuple[str, re.Pattern[str], Handler]] = field(default_factory=list)

    def route(self, method: str, *patterns: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.table += [(method, compile_pattern(pattern), handler) for pattern in patterns]
            return handler

        return register

    def __or__(self, others: "Routes") -> "Routes":
        return Routes(self.table + others.table)

    def dispatch(self, state: HubState, request: Request) -> Response:
        routed_method = "GET" if request.method == "HEAD" else request.method
        for method, pattern, handler in self.table:
            if method == routed_method and (match := pattern.fullmatch(request.path)):
                try:
                    return handler(state, request, **{name: unquote(text) for name, text in match.groupdict().items()})
                except HubHTTPError as error:
                    return error.response
        return HubHTTPError(501, message=f"This hub does not serve {request.method} {request.path}").response


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern; `{kind}` matches a type of repository, `{repo}` an owner and a name."""
    special = {"kind": "(?P<kind>models|datasets|spaces)", "repo": "(?P<repo>[^/]+/[^/]+?)"}
    pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", pattern)
    return re.compile(re.sub(r"\{(\w+)\}", lambda name: special.get(name[1], f"(?P<{name[1]}>[^/]+)"), pattern))
