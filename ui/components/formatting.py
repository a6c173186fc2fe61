"""Markdown for numbers and for untrusted text."""

import re
from collections.abc import Mapping

# Asterisk operator, low macron, apostrophe: what looks like *, _ and ` and is no markup.
INFO_SUBSTITUTES = str.maketrans({"*": "\u2217", "_": "\u02cd", "`": "'"})


def escape_markdown(text: str) -> str:
    """Return untrusted text as plain text on one line, without markup, links or formulas."""
    return re.sub(r"[\\`*_{}\[\]#|<>&$~:]", lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def escape_info(text: str) -> str:
    """Return untrusted text for the `info` of a component as plain text on one line.

    Gradio escapes HTML there, but turns pairs of some characters into code, emphasis and links. Similar characters replace them.
    """
    return " ".join(text.split()).translate(INFO_SUBSTITUTES).replace("](", "] (")


def format_table(rows: Mapping[str, str]) -> str:
    """Return a table of names and values, without rows whose value is empty."""
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value) + "\n"


def format_progress_bar(share: float) -> str:
    """Return a progress bar with the percentage as its label, as HTML within Markdown.

    Args:
        share: Progress from 0 to 1.
    """
    share = min(1.0, max(0.0, share))
    return f'<label><progress value="{share:.4f}" max="1"></progress> {share:.0%}</label>'


def format_duration(seconds: float) -> str:
    """Format a duration: 40 s, 12 min, 3 h 20 min, 2 days 5 h."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days {hours % 24} h"
