"""Hypothesis strategies for untrusted input (text, plain data, damaged files), and checks of error messages."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from training.data.image_errors import UnreadableImage
from training.tasks.samples import IncompleteInputError

T = TypeVar("T")

texts = st.text(max_size=80)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
json_objects = st.dictionaries(texts, json_values, max_size=4)
HOSTILE_TEXTS = (
    "",
    " ",
    "\n",
    "\x00",
    "\ud800",
    "..",
    "../..",
    "/etc/passwd",
    "~",
    "nan",
    "inf",
    "-0",
    "1e999",
    "9" * 5_000,
    "[" * 1_000,
    "(" * 1_000,
    "a" * 100_000,
    "\u0663",
    "\uff11",
    "\u00b2",
    "a\nb",
    "\u2028",
    "None",
    "{}",
    "!!python/object:os.system",
)
EDGE_BYTES = (
    b"\xff" * 4,
    b"\x00" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\x00\x00\x00",
    b"\xff" * 8,
    b"\x01\x00\x00\x00",
)


def reduce_examples(divisor: int) -> settings:
    """Return settings with fewer examples, for a slow test.

    Args:
        divisor: The number of examples is divided by it; the minimum is 10.
    """
    return settings(max_examples=max(10, settings.default.max_examples // divisor))


def is_sentence(text: str, max_length: int = 600) -> bool:
    """Return whether a text is a message for users: one short line with a final period, no traceback, no Python class."""
    program_text = re.search(r"Traceback|pydantic|<class|<function|object at 0x|'NoneType'|has no attribute", text)
    return bool(text) and text.isprintable() and text[-1] in ".?" and len(text) <= max_length and not program_text


def are_sentences(text: str, max_lines: int = 30) -> bool:
    """Return whether a text has one sentence per line, and at most `max_lines` lines."""
    lines = text.split("\n")
    return len(lines) <= max_lines and all(map(is_sentence, lines))


def try_read(read: Callable[[], T], is_valid_message: Callable[[str], bool] = is_sentence) -> T | None:
    """Return the result of `read`, or None if it rejects its input correctly.

    The rejection must be a plain `ValueError` or an `UnreadableImage` or `IncompleteInputError` whose message satisfies `is_valid_message`.
    """
    try:
        return read()
    except ValueError as error:
        assert type(error) in (ValueError, UnreadableImage, IncompleteInputError), f"{type(error).__name__}: {error}"
        assert is_valid_message(str(error)), repr(str(error)[:2_000])
    return None


@contextmanager
def time_limit(seconds: float = 5.0) -> Iterator[None]:
    """Fail if the block takes longer than `seconds`."""
    start_time = time.perf_counter()
    yield
    assert time.perf_counter() - start_time < seconds


@st.composite
def mutate_bytes(draw: st.DrawFn, source: SearchStrategy[bytes], max_edits: int = 6) -> bytes:
    """Generate a file with a few bytes changed, removed, duplicated or inserted, possibly without its end."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(0, max_edits))):
        position = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "remove", "double", "insert", "cut"])):
            case "change" if position < len(data):
                data[position] = draw(st.integers(0, 255))
            case "remove":
                del data[position : position + draw(st.integers(1, 40))]
            case "double":
                data[position:position] = data[position : position + draw(st.integers(1, 400))]
            case "insert":
                data[position:position] = draw(st.binary(min_size=1, max_size=12) | st.sampled_from(EDGE_BYTES))
            case "cut" if draw(st.booleans()):
                del data[position:]
    return bytes(data)


@st.composite
def mutate_json(draw: st.DrawFn, values: Any, other: SearchStrategy[Any] = json_values) -> Any:
    """Generate JSON data with some values removed, replaced or inserted."""
    values = json.loads(json.dumps(values))
    for _ in range(draw(st.integers(1, 3))):
        container = values
        while isinstance(container, dict | list) and container:
            keys = sorted(container) if isinstance(container, dict) else range(len(container))
            key = draw(st.sampled_from(keys))
            if not isinstance(container[key], dict | list) or draw(st.integers(0, 2)) == 0:
                if draw(st.booleans()):
                    container[key] = draw(other)
                else:
                    del container[key]
                break
            container = container[key]
        if isinstance(values, dict) and draw(st.integers(0, 3)) == 0:
            values[draw(texts)] = draw(other)
    return values
