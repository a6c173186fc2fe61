"""What a request tells of where it came from. All of it but the peer's address can be made up by whoever sends it."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from fastapi.requests import HTTPConnection


def visit_of(request: Any) -> HTTPConnection | None:
    """What came over the wire, without what Gradio wraps around it; None if nothing did."""
    scope = getattr(getattr(request, "request", None) or request, "scope", None)
    return HTTPConnection(scope) if isinstance(scope, dict) and scope.get("type") == "http" else None


def from_own_page(visit: HTTPConnection, hosts: tuple[str, ...] = ()) -> bool:
    """Whether no page of another origin sent this: a browser adds cookies to whatever it sends to us.

    Schemes are not compared: behind a proxy, ours is not the one that the browser sees.
    """
    ours = {bare(name) for name in (*visit.headers.getlist("host"), *hosts)} - {""}
    return all(bare(origin.partition("://")[2]) in ours for origin in visit.headers.getlist("origin"))


def bare(name: str) -> str:
    """A host without the port that goes without saying."""
    return name.strip().lower().removesuffix(":80").removesuffix(":443")


def passed_on(visit: HTTPConnection) -> bool:
    """Whether a proxy or a tunnel says that it sends this for somebody else."""
    return any(name in ("forwarded", "via", "x-real-ip") or name.startswith("x-forwarded-") for name in visit.headers)


def host_of(name: str) -> str:
    """The host of `host:port`; empty for nonsense."""
    try:
        return urlsplit(f"//{name}").hostname or ""
    except ValueError:
        return ""


def address_of(visit: HTTPConnection) -> str:
    return visit.client.host if visit.client else "unknown"


def is_loopback(name: str) -> bool:
    """Whether a name or an address means this very machine."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_encrypted(visit: HTTPConnection) -> bool:
    """Whether the browser speaks https to us, or says a proxy in between."""
    return "https" in (
        visit.scope.get("scheme"),
        visit.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower(),
    )
