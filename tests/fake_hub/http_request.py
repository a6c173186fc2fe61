"""Single HTTP requests without the Hub client, which would retry."""

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class HttpResponse:
    status: int
    headers: dict[str, str]
    body: bytes


def send_request(
    url: str, path: str, method: str = "GET", timeout: float = 10.0, token: str | None = None, body: str = ""
) -> HttpResponse:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, body.encode(), headers)
        response = connection.getresponse()
        return HttpResponse(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
    finally:
        connection.close()
