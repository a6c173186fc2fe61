"""Server of a load test: a process of `app.py` with an empty home directory, and what it uses."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.paths import ROOT
from benchmarks.speed import read_memory_kib

READY_PATH = "/readyz"
APP_VARIABLE_PREFIXES = ("GRADIO_", "SPACE_", "CTM_", "HF_")  # environment variables that configure the server
TIMEOUT_S = 120  # for a server to become ready, and for a request to end
MAX_LOG_CHARS = 5_000
USAGE_INTERVAL_S = 0.25  # time between two samples of the server's usage


@dataclass(frozen=True)
class ServerProcess:
    """Running server.

    Attributes:
        address: its URL.
        process: its process.
    """

    address: str
    process: subprocess.Popen


@contextmanager
def run_server(root: Path = ROOT, **environment: str) -> Iterator[ServerProcess]:
    """Run the server until it is ready, with a clean environment; print the end of its log when it stops.

    Args:
        root: root directory of the version to run.
        environment: environment variables of the server.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(APP_VARIABLE_PREFIXES)}
    with tempfile.TemporaryDirectory() as home_dir:
        log_path = Path(home_dir, "log.txt")
        overrides = {
            "CTM_HOME": home_dir,
            "GRADIO_TEMP_DIR": f"{home_dir}/uploads",
            "GRADIO_SERVER_PORT": "0",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, "app.py"]
        with log_path.open("w") as log:
            process = subprocess.Popen(
                command, cwd=root, env=inherited | overrides | environment, stdout=log, stderr=log
            )
        try:
            yield ServerProcess(wait_for_address(process, log_path), process)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
            text = re.sub(r"^(Starting|Open)\b.*\n", "", log_path.read_text("utf-8"), flags=re.M)
            print(text[-MAX_LOG_CHARS:], end="", file=sys.stderr)


def wait_for_address(process: subprocess.Popen, log_path: Path) -> str:
    """Wait until the server is ready and return its URL.

    Raises:
        SystemExit: It ended, or was not ready within `TIMEOUT_S`.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"Open (http://\S+)", log_path.read_text("utf-8")):
            with suppress(urllib.error.URLError), urllib.request.urlopen(match[1] + READY_PATH, timeout=TIMEOUT_S):
                return match[1]
        time.sleep(0.1)
    raise SystemExit("The server did not get ready.")


def sample_usage(pid: int) -> dict[str, float]:
    """Return the CPU time (seconds), peak memory (MiB), threads and open files of a process."""
    process = psutil.Process(pid)
    with process.oneshot():
        cpu_times = process.cpu_times()
        return {
            "time": time.time(),
            "cpu": cpu_times.user + cpu_times.system,
            "peak_mib": read_memory_kib("VmHWM", pid) / 1024,
            "threads": process.num_threads(),
            "files": process.num_fds(),
        }


def monitor_usage(server: subprocess.Popen, locust_process: subprocess.Popen) -> Iterator[dict[str, float]]:
    """Yield the usage of the server until Locust ends; end Locust if the caller stops early.

    Raises:
        SystemExit: The server ended.
    """
    try:
        while locust_process.poll() is None:
            if server.poll() is not None:
                raise SystemExit(f"The server ended with exit code {server.returncode} during the load test.")
            with suppress(psutil.Error):  # it may end meanwhile
                yield sample_usage(server.pid)
            time.sleep(USAGE_INTERVAL_S)
    finally:
        locust_process.terminate()
