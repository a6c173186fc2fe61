"""Origin of a request. The sender can forge all of it except the address of the peer."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from fastapi.requests import HTTPConnection


def get_http_connection(request: Any) -> HTTPConnection | None:
    """Return the HTTP connection inside Gradio's or Starlette's request, or None if there is none."""
    scope = getattr(getattr(request, "request", None) or request, "scope", None)
    return HTTPConnection(scope) if isinstance(scope, dict) and scope.get("type") == "http" else None


def is_same_origin(connection: HTTPConnection, hosts: tuple[str, ...] = ()) -> bool:
    """Return whether the request comes from a page of this origin. Browsers add cookies to requests of foreign pages too.

    Schemes are not compared: behind a proxy, the scheme here differs from the one that the browser uses.

    Args:
        connection: The request.
        hosts: Host names of the app besides the one in the request.
    """
    own_hosts = {strip_default_port(name) for name in (*connection.headers.getlist("host"), *hosts)} - {""}
    return all(
        strip_default_port(origin.partition("://")[2]) in own_hosts for origin in connection.headers.getlist("origin")
    )


def strip_default_port(name: str) -> str:
    """Return a host without the default port of HTTP or HTTPS, in lower case."""
    return name.strip().lower().removesuffix(":80").removesuffix(":443")


def is_proxied(connection: HTTPConnection) -> bool:
    """Return whether a proxy or a tunnel declares that it forwards this request."""
    return any(
        name in ("forwarded", "via", "x-real-ip") or name.startswith("x-forwarded-") for name in connection.headers
    )


def parse_hostname(name: str) -> str:
    """Return the host of `host:port`, or an empty text if it is invalid."""
    try:
        return urlsplit(f"//{name}").hostname or ""
    except ValueError:
        return ""


def get_client_address(connection: HTTPConnection) -> str:
    """Return the address of the client, as the server determined it."""
    return connection.client.host if connection.client else "unknown"


def is_loopback(name: str) -> bool:
    """Return whether a name or an address means this host."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_encrypted(connection: HTTPConnection) -> bool:
    """Return whether the browser uses HTTPS, according to the connection or to the proxy."""
    return "https" in (
        connection.scope.get("scheme"),
        connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower(),
    )
