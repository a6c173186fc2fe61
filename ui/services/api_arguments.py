"""Parse arguments of the public API: JSON values of any kind in, valid values or one sentence out."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ctm.messages import truncate_repr
from training.data.file_signatures import is_recognized
from ui.services.image_decoding import decode_base64, decode_data_url

FILE_ROUTE = "/gradio_api/file="
UPLOAD_HINT = 'upload the file (gradio_client: handle_file("digit.png"); curl: POST /gradio_api/upload)'
IMAGE_HINT = f"{UPLOAD_HINT}, or send it as base64 text or as a data: URL"
URL_PATTERN = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
MAX_PATH_CHARS = 4_096
MAX_URL_CHARS_IN_MESSAGE = 100


def parse_text_argument(name: str, value: Any, default: str, hint: str) -> str:
    """Return a text argument.

    Args:
        name: Name of the parameter.
        value: JSON value that a client sent. A whole number is read as its digits.
        default: Value of an argument that is null or blank.
        hint: What to send, for error messages.

    Raises:
        ValueError: The value is not a text. The message is one sentence.
    """
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a text: got {truncate_repr(value)}; {hint}.")
    return value.strip() or default


def parse_image_argument(value: Any, directories: Sequence[Path]) -> str:
    """Return the source of an image argument for `decode_image`.

    Args:
        value: JSON value that a client sent: an uploaded file as Gradio describes it, with `path` or `url`; or the path of
            an uploaded file, a `data:` URL or base64 as a text.
        directories: Directories of the files that clients may name: uploads and examples.

    Returns:
        The path of a file in one of the directories, or a `data:` URL.

    Raises:
        ValueError: The value is not a picture. The message is one sentence.
    """
    if not isinstance(value, dict):
        return _parse_image_source(value, directories)
    sources = [source for key in ("path", "url") if (source := value.get(key)) is not None and source != ""]
    if not sources:
        is_empty = not value or value.keys() & {"path", "url"}
        return _parse_image_source(None if is_empty else value, directories)
    errors = []
    for source in sources:
        try:
            return _parse_image_source(source, directories, is_file=True)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _parse_image_source(source: Any, directories: Sequence[Path], is_file: bool = False) -> str:
    """Return a path of a file that clients may name, or a `data:` URL.

    Args:
        source: Path, URL or base64.
        directories: Directories of such files.
        is_file: Whether the client sent the source as the path or the URL of an uploaded file.
    """
    if source is None or (isinstance(source, str) and not source.strip()):
        raise ValueError(f"There is no picture yet: `image` is empty; {IMAGE_HINT}.")
    if not isinstance(source, str):
        raise ValueError(f"`image` must be a picture: got {truncate_repr(source)}; {IMAGE_HINT}.")
    source = source.strip()
    if source[:5].lower() == "data:":
        return _parse_data_url(source)
    if path := find_served_file(source, directories):
        return str(path)
    if URL_PATTERN.match(source):
        raise ValueError(
            f"Pictures are not fetched from other servers: got {truncate_repr(source, MAX_URL_CHARS_IN_MESSAGE)}; "
            f"download the picture, then {IMAGE_HINT}."
        )
    try:
        content = decode_base64(source)
    except ValueError:  # a path or any other text
        content = b""
    if is_recognized(content):
        return encode_content(content)
    if is_file:
        raise ValueError(describe_missing_file(source))
    raise ValueError(
        f"`image` is neither an uploaded file nor base64 text nor a data: URL: got {truncate_repr(source)}; "
        f"if it is a path on your computer, {UPLOAD_HINT}."
    )


def describe_missing_file(path: str) -> str:
    """Return a sentence for a path that is not that of an uploaded file."""
    return f"There is no uploaded file {truncate_repr(path)}, or it is no longer available; {UPLOAD_HINT}."


def _parse_data_url(url: str) -> str:
    try:
        return encode_content(decode_data_url(url))
    except ValueError:
        raise ValueError(
            f"The data: URL of `image` is not valid base64: got {truncate_repr(url)}; encode the file again, or "
            f"{UPLOAD_HINT}."
        ) from None


def encode_content(content: bytes) -> str:
    """Return the content of a file as a `data:` URL."""
    return "data:;base64," + base64.b64encode(content).decode("ascii")


def find_served_file(text: str, directories: Sequence[Path]) -> Path | None:
    """Return the file that a path or a URL of this app names, if clients may name it; None for any other text.

    Args:
        text: Absolute path of a file, or a URL with `/gradio_api/file=` under any host name.
        directories: Directories of such files.

    Raises:
        ValueError: The path lies in one of the directories, but there is no such file. The message is one sentence.
    """
    if len(text) > MAX_PATH_CHARS or "\0" in text:
        return None
    _, is_url, encoded_path = text.partition(FILE_ROUTE)
    path = Path(unquote(encoded_path) if is_url else text)
    if not path.is_absolute():
        return None
    try:
        resolved = path.resolve()
        if not any(resolved.is_relative_to(directory.resolve()) for directory in directories):
            return None
        is_file = resolved.is_file()
    except (OSError, ValueError, RuntimeError):  # too long a name, a zero byte, a loop of links
        return None
    if not is_file:
        raise ValueError(describe_missing_file(text))
    return resolved
