"""The leader of a job's process group: starts the training and notes with which code it ended.

python -m training.jobs.supervisor EXIT_FILE COMMAND...

The app may die and come back while the training goes on; then nobody else could ask for the exit code. It loads nothing but
the standard library, outlives signals that are meant for the training, and lets the page have the processor first.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NICENESS = 10
EXIT_FILE_BYTES = 500  # bytes of the note
CGROUP_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


def main() -> None:
    note, command = Path(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the training would inherit
    os.nice(NICENESS)
    before = count_oom_kills()
    with note.open("w+", encoding="utf-8") as file:
        file.write(" " * EXIT_FILE_BYTES)  # taken now: the disk may be full at the end
        file.flush()
        code = subprocess.call(command)
        file.seek(0)
        file.write(json.dumps({"code": code, "out_of_memory": count_oom_kills() > before, "time": time.time()}))
    sys.exit(code if code >= 0 else 128 - code)


def count_oom_kills() -> int:
    """How often the system killed a process of this container for want of memory."""
    try:
        events = dict(line.split() for line in CGROUP_MEMORY_EVENTS.read_text("utf-8").splitlines())
        return int(events.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    main()
