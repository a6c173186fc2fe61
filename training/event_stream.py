"""Event stream of a run: what it writes into its run directory, printed for a monitor on another host.

An event is one line of standard output: `EVENT_PREFIX`, the file name relative to the run directory, a space, and the
values as JSON. `training.jobs.remote.monitor` applies events to a local run directory.
"""

import json
import os
from typing import Any

from training.console import write_line

# Set in the environment of a run whose run directory the monitor cannot read.
EVENT_STREAM_ENV = "CTM_ECHO"
EVENT_PREFIX = "::ctm "


def emit_event(file_name: str, values: dict[str, Any]) -> None:
    """Print values that were written to the run directory, if `EVENT_STREAM_ENV` is set.

    Args:
        file_name: File relative to the run directory.
        values: The written values.
    """
    if os.environ.get(EVENT_STREAM_ENV):
        write_line(f"{EVENT_PREFIX}{file_name} {json.dumps(values)}")
