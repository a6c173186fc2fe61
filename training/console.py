"""Lines on standard output: results of commands, and progress of a training process."""

import os
import sys
from pathlib import Path


def write_line(text: str) -> None:
    """Write one line to standard output and flush it, so that a log file shows it at once.

    The line is one write call, because other threads write as well.

    Without a reader, for example after the supervisor of a job was killed, this and all later output is dropped: a
    training does not end for its log.

    Args:
        text: The line, without a line break at its end.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open
