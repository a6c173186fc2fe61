"""Leader of a job's process group: starts the training program, copies its output and records its exit code.

python -m training.jobs.supervisor EXIT_FILE COMMAND...

The app may end and start again while the training runs. Only the parent process can read an exit code, so the
supervisor does. It replaces the Hub token (HF_TOKEN) in the output, survives the signals that are meant for the
training, and lowers its priority in favour of the page. It imports only the standard library.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from training.jobs.redaction import StreamRedactor

NICENESS = 10
EXIT_FILE_BYTES = 500
CHUNK_BYTES = 65_536
# Processes that outlive the training program may keep its output open.
OUTPUT_TIMEOUT_S = 2.0
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
    # The space is allocated now, because the disk may be full at the end. `ctm.io.preallocated` does the same with
    # more imports.
    with exit_file.open("w+", encoding="utf-8") as file:
        file.write(" " * EXIT_FILE_BYTES)
        file.flush()
        code = run_command(command, os.environ.get("HF_TOKEN", ""))
        file.seek(0)
        is_out_of_memory = count_oom_kills() > num_oom_kills
        file.write(json.dumps({"code": code, "out_of_memory": is_out_of_memory, "time": time.time()}))
    sys.exit(code if code >= 0 else 128 - code)


def run_command(command: list[str], token: str) -> int:
    """Run a command, copy its output to the standard output of this process, and return its exit code.

    Args:
        command: Program and arguments.
        token: Token to replace in the output; empty for none.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None  # it is a pipe
    thread = threading.Thread(target=copy_output, args=(process.stdout, StreamRedactor(token)), daemon=True)
    thread.start()
    code = process.wait()
    thread.join(OUTPUT_TIMEOUT_S)
    return code


def copy_output(source: IO[bytes], redactor: StreamRedactor) -> None:
    """Copy a stream to standard output until its end.

    Output that cannot be written because the disk is full is dropped: the training must not wait or end for its log.
    """
    while chunk := os.read(source.fileno(), CHUNK_BYTES):
        write_output(redactor.feed(chunk))
    write_output(redactor.flush())


def write_output(content: bytes) -> None:
    """Write bytes to the file descriptor of standard output."""
    with suppress(OSError):
        while content:
            content = content[os.write(sys.stdout.fileno(), content) :]


def count_oom_kills() -> int:
    """Return how many processes of this container the kernel has killed for lack of memory."""
    try:
        events = dict(line.split() for line in CGROUP_MEMORY_EVENTS.read_text("utf-8").splitlines())
        return int(events.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    main()
