"""Leader of a job's process group: starts the training program and records its exit code.

python -m training.jobs.supervisor EXIT_FILE COMMAND...

The app may end and start again while the training runs. Only the parent process can read an exit code, so the
supervisor does. It imports only the standard library, survives the signals that are meant for the training, and
lowers its priority in favour of the page.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NICENESS = 10
EXIT_FILE_BYTES = 500
CGROUP_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


def main() -> None:
    """Run the command and write its exit code into the exit file.

    The exit status is that of the command, or 128 plus the signal number.
    """
    exit_file = Path(sys.argv[1])
    command = sys.argv[2:]
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)  # not SIG_IGN, which the training would inherit
    os.nice(NICENESS)
    num_oom_kills = count_oom_kills()
    with exit_file.open("w+", encoding="utf-8") as file:
        file.write(" " * EXIT_FILE_BYTES)  # allocate the space now: the disk may be full at the end
        file.flush()
        code = subprocess.call(command)
        file.seek(0)
        is_out_of_memory = count_oom_kills() > num_oom_kills
        file.write(json.dumps({"code": code, "out_of_memory": is_out_of_memory, "time": time.time()}))
    sys.exit(code if code >= 0 else 128 - code)


def count_oom_kills() -> int:
    """Return how many processes of this container the kernel has killed for lack of memory."""
    try:
        events = dict(line.split() for line in CGROUP_MEMORY_EVENTS.read_text("utf-8").splitlines())
        return int(events.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    main()
