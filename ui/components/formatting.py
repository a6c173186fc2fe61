"""Numbers and foreign words as people read them, in Markdown."""

import re
from collections.abc import Mapping


def escape_markdown(text: str) -> str:
    """Words from elsewhere, as words on one line: no markup, no links, no formulas."""
    return re.sub(r"[\\`*_{}\[\]#|<>&$~:]", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def format_table(rows: Mapping[str, str]) -> str:
    """A table of names and values; those without a value are left out."""
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value) + "\n"


def format_progress_bar(share: float) -> str:
    """A progress bar that any screen can show."""
    full = round(20 * min(1.0, max(0.0, share)))
    return f"`{'█' * full}{'░' * (20 - full)}` {share:.0%}"


def format_duration(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3 h 20 min, 2 days 5 h."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days {hours % 24} h"
