"""Jobs as a hub knows them: moved on by a test, or really run as processes of this machine."""

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

OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
GRACE = 30.0  # seconds between asking a process to end and ending it


def now() -> str:
    """The time as the log of a job has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def machine(
    name: str, title: str, cores: int, memory: int, cents: int, chip: str = "", vram: int = 0
) -> dict[str, Any]:
    """Hardware as the Hub lists it; it is priced by the minute."""
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
    machine("a100-large", "Nvidia A100 - large", 12, 142, 250, "A100", 80),
    machine("cpu-basic", "CPU Basic", 2, 16, 1),
    machine("cpu-upgrade", "CPU Upgrade", 8, 32, 3),
    machine("t4-small", "Nvidia T4 - small", 4, 15, 40, "T4", 16),
    machine("l4x1", "1x Nvidia L4", 8, 30, 80, "L4", 24),
]


@dataclass
class Job:
    """A job; whoever follows its log is told of every change."""

    id: str
    namespace: str
    spec: dict[str, Any]  # as it was sent, secrets included
    stage: str = "SCHEDULING"
    message: str | None = None
    times: dict[str, str] = field(default_factory=lambda: {"createdAt": now()})
    log: list[tuple[str, str]] = field(default_factory=list)  # time and text
    lingers: bool = False  # its log stays open, and silent, after its end
    process: subprocess.Popen[str] | None = None
    cancelled: bool = False
    cuts: int = 0
    ends: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def is_over(self) -> bool:
        return self.stage in OVER

    # --- what a test may do --------------------------------------------------------------------------------------

    def start(self) -> None:
        with self.changed:
            self.stage, self.times["startedAt"] = "RUNNING", now()
        self.say(f"===== Job started at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} =====")

    def say(self, *lines: str) -> None:
        with self.changed:
            self.log += [(now(), line) for line in lines]
            self.changed.notify_all()

    def finish(self, stage: str = "COMPLETED", message: str | None = None) -> None:
        with self.changed:
            self.stage, self.message, self.times["finishedAt"] = stage, message, now()
            self.changed.notify_all()

    def cut(self) -> None:
        """Break every connection that follows the log, in the middle of a line; what was not sent yet is not sent."""
        with self.changed:
            self.cuts += 1
            self.changed.notify_all()

    def hang_up(self) -> None:
        """End every connection that follows the log, as if nothing more would come."""
        with self.changed:
            self.ends += 1
            self.changed.notify_all()

    # --- what the hub does ---------------------------------------------------------------------------------------

    def follow(self, tail: int | None, keep_alive: float) -> Iterator[bytes]:
        """The log as events, from its beginning or its last lines; nothing, and often, while there is none."""
        told = 0 if tail is None else max(0, len(self.log) - tail)
        return self.tell(told, self.cuts, self.ends, keep_alive)

    def tell(self, told: int, cuts: int, ends: int, keep_alive: float) -> Iterator[bytes]:
        """The events after so many, on a connection that was made after so many others were broken or ended."""
        beat = time.monotonic()
        while True:
            with self.changed:
                if told == len(self.log):
                    self.changed.wait(0.02)
                lines, over = self.log[told:], self.is_over and not self.lingers
                cut, end = self.cuts > cuts, self.ends > ends
            if cut:
                yield event(now(), "a line that nobody reads to its end")[:40]
                raise ConnectionAbortedError("cut on command")
            if end or (over and not lines):
                return
            told += len(lines)
            yield b"".join(event(*line) for line in lines)
            if time.monotonic() - beat > keep_alive:
                beat = time.monotonic()
                yield b": keep-alive\n\n"

    def cancel(self) -> None:
        self.cancelled = True
        if self.process is None:
            self.finish("CANCELED")
        else:
            self.signal(signal.SIGTERM)
            later = threading.Timer(GRACE, self.signal, [signal.SIGKILL])
            later.daemon = True
            later.start()

    def signal(self, number: signal.Signals) -> None:
        """To the job's process and all that it started, as long as it runs."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def run(self, surroundings: Callable[[Path], dict[str, str]]) -> None:
        """Run the command in a folder that looks like the image: the repository, but what is written stays out of it."""
        with tempfile.TemporaryDirectory(prefix="job-", ignore_cleanup_errors=True) as folder:
            home, image = Path(folder, "home"), Path(folder, "app")
            home.mkdir()
            image.mkdir()
            for path in ROOT.iterdir():
                if not path.name.startswith(".") and path.name != "runs":
                    (image / path.name).symlink_to(path)
            told = self.spec["environment"] | self.spec.get("secrets", {}) | {"JOB_ID": self.id}
            ours = {"PYTHONPATH": str(image), "PYTHONUNBUFFERED": "1", "CPU_CORES": "2", "MEMORY": "16Gi"}
            command = [sys.executable if word in ("python", "python3") else word for word in self.spec["command"]]
            try:
                self.process = subprocess.Popen(
                    command,
                    cwd=image,
                    env=surroundings(home) | ours | told,
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
            if self.cancelled:
                self.signal(signal.SIGTERM)
            with self.process.stdout as lines:
                for line in lines:
                    self.say(line.rstrip("\n"))
            code = self.process.wait()
        if self.cancelled:
            self.finish("CANCELED")
        else:
            self.finish("ERROR" if code else "COMPLETED", f"Job failed with exit code: {code}" if code else None)


def event(time: str, text: str) -> bytes:
    said = json.dumps({"data": text, "timestamp": time}, ensure_ascii=False, separators=(",", ":"))
    return f"data: {said}\n\n".encode()


@dataclass
class Jobs:
    """All jobs, and how this hub deals with them."""

    surroundings: Callable[[Path], dict[str, str]] = lambda home: dict(os.environ)  # of a job that is really run
    table: dict[str, Job] = field(default_factory=dict)
    hardware: list[dict[str, Any]] = field(default_factory=lambda: list(HARDWARE))
    without_credit: set[str] = field(default_factory=set)  # accounts
    executes: bool = False  # whether commands are really run; else jobs wait for a test to move them on
    keep_alive: float = 30.0  # seconds
    threads: list[threading.Thread] = field(default_factory=list)

    def add(self, namespace: str, spec: dict[str, Any]) -> Job:
        job = Job(f"{len(self.table) + 0x687FB701:08x}{os.urandom(8).hex()}", namespace, spec)
        self.table[job.id] = job
        if self.executes:
            self.threads.append(threading.Thread(target=job.run, args=[self.surroundings], name=job.id, daemon=True))
            self.threads[-1].start()
        return job

    @property
    def newest(self) -> Job:
        return list(self.table.values())[-1]

    def clear(self) -> None:
        """End what runs, and forget all of it."""
        for job in self.table.values():
            job.cancelled = True
            job.signal(signal.SIGKILL)
        for thread in self.threads:
            thread.join(10)
        self.table.clear()
        self.threads.clear()
