"""What a request tells of where it came from. All of it but the peer's address can be made up by whoever sends it."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from fastapi.requests import HTTPConnection


def get_http_connection(request: Any) -> HTTPConnection | None:
    """What came over the wire, without what Gradio wraps around it; None if nothing did."""
    scope = getattr(getattr(request, "request", None) or request, "scope", None)
    return HTTPConnection(scope) if isinstance(scope, dict) and scope.get("type") == "http" else None


def is_same_origin(connection: HTTPConnection, hosts: tuple[str, ...] = ()) -> bool:
    """Whether no page of another origin sent this: a browser adds cookies to whatever it sends to us.

    Schemes are not compared: behind a proxy, ours is not the one that the browser sees.
    """
    ours = {strip_default_port(name) for name in (*connection.headers.getlist("host"), *hosts)} - {""}
    return all(
        strip_default_port(origin.partition("://")[2]) in ours for origin in connection.headers.getlist("origin")
    )


def strip_default_port(name: str) -> str:
    """A host without the port that goes without saying."""
    return name.strip().lower().removesuffix(":80").removesuffix(":443")


def is_proxied(connection: HTTPConnection) -> bool:
    """Whether a proxy or a tunnel says that it sends this for somebody else."""
    return any(
        name in ("forwarded", "via", "x-real-ip") or name.startswith("x-forwarded-") for name in connection.headers
    )


def parse_hostname(name: str) -> str:
    """The host of `host:port`; empty for nonsense."""
    try:
        return urlsplit(f"//{name}").hostname or ""
    except ValueError:
        return ""


def get_client_address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "unknown"


def is_loopback(name: str) -> bool:
    """Whether a name or an address means this very machine."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_encrypted(connection: HTTPConnection) -> bool:
    """Whether the browser speaks https to us, or says a proxy in between."""
    return "https" in (
        connection.scope.get("scheme"),
        connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower(),
    )
