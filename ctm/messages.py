"""Format values and errors for messages: short, printable, on one line."""

from collections.abc import Sequence
from typing import Any


def format_name(name: Any, limit: int = 60) -> str:
    """A name or words from elsewhere as they are, where they are short and can be printed."""
    text = str(name)
    return text if text.isprintable() and 0 < len(text) <= limit else truncate_repr(text, limit)


def truncate_repr(value: Any, limit: int = 60) -> str:
    """What was given, as a message quotes it: never much of it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of brackets inside each other
        text = "what is too long to be shown"
    return text if len(text) <= limit else text[:limit] + "..."


def summarize_error(error: Exception) -> str:
    """What an error says, in short."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(". ")


def format_name_list(names: Sequence[str], quote: str = "", separator: str = ", ") -> str:
    """The first few of these names, and how many there are besides."""
    shown = separator.join(f"{quote}{name}{quote}" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
