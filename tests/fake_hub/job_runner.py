"""Jobs of the hub: a test changes their stages, or they run as local processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.paths import ROOT

FINAL_STAGES = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
KILL_DELAY_S = 30.0  # between SIGTERM and SIGKILL


def format_now() -> str:
    """Return the present time in the format of job logs."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_hardware(
    name: str, title: str, cores: int, memory: int, cents: int, chip: str = "", vram: int = 0
) -> dict[str, Any]:
    """Return a hardware description as the Hub lists it, with a price per minute."""
    micro = round(cents * 10_000 / 60)
    gpu = {"type": "gpu", "model": chip, "quantity": "1", "vram": f"{vram} GB", "manufacturer": "Nvidia"}
    return {
        "name": name,
        "prettyName": title,
        "cpu": f"{cores} vCPU",
        "ram": f"{memory} GB",
        "ephemeralStorage": "50 GB",
        "accelerator": gpu if chip else None,
        "unitCostMicroUSD": micro,
        "unitCostUSD": micro / 1e6,
        "unitLabel": "minute",
    }


HARDWARE = [
    make_hardware("a100-large", "Nvidia A100 - large", 12, 142, 250, "A100", 80),
    make_hardware("cpu-basic", "CPU Basic", 2, 16, 1),
    make_hardware("cpu-upgrade", "CPU Upgrade", 8, 32, 3),
    make_hardware("t4-small", "Nvidia T4 - small", 4, 15, 40, "T4", 16),
    make_hardware("l4x1", "1x Nvidia L4", 8, 30, 80, "L4", 24),
]


@dataclass
class HubJob:
    """A job; followers of its log are notified of every change."""

    job_id: str
    namespace: str
    spec: dict[str, Any]  # as submitted, with secrets
    stage: str = "SCHEDULING"
    message: str | None = None
    timestamps: dict[str, str] = field(default_factory=lambda: {"createdAt": format_now()})
    log_lines: list[tuple[str, str]] = field(default_factory=list)  # time and text
    keep_log_open: bool = False  # the log stays open without lines after the end of the job
    process: subprocess.Popen[str] | None = None
    is_cancelled: bool = False
    num_cuts: int = 0
    num_hangups: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)

    @property
    def is_finished(self) -> bool:
        return self.stage in FINAL_STAGES

    # --- methods for tests ---------------------------------------------------------------------------------------

    def start(self) -> None:
        with self.condition:
            self.stage, self.timestamps["startedAt"] = "RUNNING", format_now()
        self.append_log(f"===== Job started at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} =====")

    def append_log(self, *lines: str) -> None:
        with self.condition:
            self.log_lines += [(format_now(), line) for line in lines]
            self.condition.notify_all()

    def finish(self, stage: str = "COMPLETED", message: str | None = None) -> None:
        with self.condition:
            self.stage, self.message, self.timestamps["finishedAt"] = stage, message, format_now()
            self.condition.notify_all()

    def break_connections(self) -> None:
        """Break every connection that follows the log in the middle of a line; unsent lines are dropped."""
        with self.condition:
            self.num_cuts += 1
            self.condition.notify_all()

    def end_connections(self) -> None:
        """End every connection that follows the log, as if the log were complete."""
        with self.condition:
            self.num_hangups += 1
            self.condition.notify_all()

    # --- methods for the hub -------------------------------------------------------------------------------------

    def stream_log(self, tail: int | None, keep_alive_s: float) -> Iterator[bytes]:
        """Yield the log as events from its beginning or its last lines; b"" while there is no new line."""
        num_sent = 0 if tail is None else max(0, len(self.log_lines) - tail)
        return self._stream_events(num_sent, self.num_cuts, self.num_hangups, keep_alive_s)

    def _stream_events(self, num_sent: int, num_cuts: int, num_hangups: int, keep_alive_s: float) -> Iterator[bytes]:
        """Yield the events of one connection after the first ones, until the connection is broken or ended."""
        last_keep_alive = time.monotonic()
        while True:
            with self.condition:
                if num_sent == len(self.log_lines):
                    self.condition.wait(0.02)
                lines, over = self.log_lines[num_sent:], self.is_finished and not self.keep_log_open
                cut, end = self.num_cuts > num_cuts, self.num_hangups > num_hangups
            if cut:
                yield format_event(format_now(), "a line that is cut before its end")[:40]
                raise ConnectionAbortedError("cut on command")
            if end or (over and not lines):
                return
            num_sent += len(lines)
            yield b"".join(format_event(*line) for line in lines)
            if time.monotonic() - last_keep_alive > keep_alive_s:
                last_keep_alive = time.monotonic()
                yield b": keep-alive\n\n"

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.process is None:
            self.finish("CANCELED")
        else:
            self.send_signal(signal.SIGTERM)
            timer = threading.Timer(KILL_DELAY_S, self.send_signal, [signal.SIGKILL])
            timer.daemon = True
            timer.start()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group of the job, if it runs."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def run(self, build_environment: Callable[[Path], dict[str, str]]) -> None:
        """Run the command in a directory with links to the repository, so that new files do not get into the repository."""
        with tempfile.TemporaryDirectory(prefix="job-", ignore_cleanup_errors=True) as work_dir:
            home, image = Path(work_dir, "home"), Path(work_dir, "app")
            home.mkdir()
            image.mkdir()
            for path in ROOT.iterdir():
                if not path.name.startswith(".") and path.name != "runs":
                    (image / path.name).symlink_to(path)
            job_variables = self.spec["environment"] | self.spec.get("secrets", {}) | {"JOB_ID": self.job_id}
            host_variables = {"PYTHONPATH": str(image), "PYTHONUNBUFFERED": "1", "CPU_CORES": "2", "MEMORY": "16Gi"}
            command = [sys.executable if word in ("python", "python3") else word for word in self.spec["command"]]
            try:
                self.process = subprocess.Popen(
                    command,
                    cwd=image,
                    env=build_environment(home) | host_variables | job_variables,
                    text=True,
                    errors="replace",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self.finish("ERROR", f"The command could not be started: {error}")
                return
            self.start()
            if self.is_cancelled:
                self.send_signal(signal.SIGTERM)
            with self.process.stdout as lines:
                for line in lines:
                    self.append_log(line.rstrip("\n"))
            code = self.process.wait()
        if self.is_cancelled:
            self.finish("CANCELED")
        else:
            self.finish("ERROR" if code else "COMPLETED", f"Job failed with exit code: {code}" if code else None)


def format_event(time: str, text: str) -> bytes:
    event = json.dumps({"data": text, "timestamp": time}, ensure_ascii=False, separators=(",", ":"))
    return f"data: {event}\n\n".encode()


@dataclass
class HubJobs:
    """All jobs, and the settings of the job service."""

    build_environment: Callable[[Path], dict[str, str]] = lambda home: dict(
        os.environ
    )  # of a job that runs as a process
    by_id: dict[str, HubJob] = field(default_factory=dict)
    hardware: list[dict[str, Any]] = field(default_factory=lambda: list(HARDWARE))
    accounts_without_credit: set[str] = field(default_factory=set)  # names of accounts
    run_commands: bool = False  # whether jobs run as processes; otherwise a test changes their stages
    keep_alive_s: float = 30.0  # seconds
    threads: list[threading.Thread] = field(default_factory=list)

    def add(self, namespace: str, spec: dict[str, Any]) -> HubJob:
        job = HubJob(f"{len(self.by_id) + 0x687FB701:08x}{os.urandom(8).hex()}", namespace, spec)
        self.by_id[job.job_id] = job
        if self.run_commands:
            self.threads.append(
                threading.Thread(target=job.run, args=[self.build_environment], name=job.job_id, daemon=True)
            )
            self.threads[-1].start()
        return job

    @property
    def latest(self) -> HubJob:
        return list(self.by_id.values())[-1]

    def clear(self) -> None:
        """Kill the running processes, and delete all jobs."""
        for job in self.by_id.values():
            job.is_cancelled = True
            job.send_signal(signal.SIGKILL)
        for thread in self.threads:
            thread.join(10)
        self.by_id.clear()
        self.threads.clear()
