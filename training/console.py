"""Lines on standard output: results of commands, and progress of a training process."""

import sys


def write_line(text: str) -> None:
    """Write one line to standard output and flush it, so that a log file shows it at once.

    Args:
        text: The line, without a line break at its end.
    """
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
