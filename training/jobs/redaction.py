"""Redaction of the Hub token in texts and in the output of a process. Imports only the standard library."""

REPLACEMENT = "•••"


def redact_token(text: str, token: str) -> str:
    """Return a text in which the token is replaced.

    Args:
        text: Any text.
        token: The token; empty for none.
    """
    return text.replace(token, REPLACEMENT) if token else text


class StreamRedactor:
    """Replaces a token in a stream of bytes, wherever the stream is cut into chunks.

    Only bytes that may be the beginning of the token wait for the next chunk, so a progress bar is never delayed.

    Args:
        token: The token; empty for none.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the next part of the stream that may be written."""
        data = self._rest + chunk
        if not self._token:
            return data
        data = data.replace(self._token, REPLACEMENT.encode())
        num_kept = self._count_token_prefix(data)
        self._rest = data[len(data) - num_kept :]
        return data[: len(data) - num_kept]

    def flush(self) -> bytes:
        """Return the bytes that still wait, at the end of the stream."""
        rest = self._rest
        self._rest = b""
        return rest

    def _count_token_prefix(self, data: bytes) -> int:
        """Return how many bytes at the end of the data may be the beginning of the token."""
        for length in range(min(len(self._token) - 1, len(data)), 0, -1):
            if data.endswith(self._token[:length]):
                return length
        return 0
