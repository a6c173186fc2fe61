"""Format values and errors for messages: short, printable, on one line."""

from collections.abc import Sequence
from typing import Any


def format_name(name: Any, limit: int = 60) -> str:
    """Return a name or text from outside unchanged if it is short and printable, else its truncated `repr`.

    Args:
        name: Any value; `str(name)` is formatted.
        limit: Maximum number of characters.
    """
    text = str(name)
    return text if text.isprintable() and 0 < len(text) <= limit else truncate_repr(text, limit)


def truncate_repr(value: Any, limit: int = 60) -> str:
    """Return `repr(value)` for a message, cut after `limit` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits or of nested brackets
        text = "a value that is too long to show"
    return text if len(text) <= limit else text[:limit] + "..."


def describe_value(value: Any) -> str:
    """Return the type and the `repr` of a value for a message, on one line."""
    return f"{type(value).__name__} {' '.join(truncate_repr(value).split())}"


def summarize_error(error: Exception) -> str:
    """Return the first line of an error message, at most 200 characters, without a final period."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(". ")


def format_name_list(names: Sequence[str], quote: str = "", separator: str = ", ") -> str:
    """Return the first five names, and how many more there are.

    Args:
        names: Names to list.
        quote: Text before and after each name.
        separator: Text between two names.
    """
    text = separator.join(f"{quote}{name}{quote}" for name in names[:5])
    return text + (f" and {len(names) - 5} more" if len(names) > 5 else "")
