"""Checkpoints on their way from the Hub, one thread each: the page never waits for them, and every tab sees the same."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ctm.stores import GivenUp, Watch

AT_ONCE = 2
STALLED = 20.0  # seconds without a byte after which the page says so


@dataclass
class Download:
    """One download. Its thread writes, screens read."""

    name: str
    done: int = 0
    total: int = 0
    state: str = "running"  # then: finished, failed, given up
    problem: str = ""
    moved: float = field(default_factory=time.monotonic)  # when bytes last came
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        return self.state == "running"

    def give_up(self) -> None:
        """End it. A connection that stalls is left alone until the client notices."""
        if self.running:
            self.stop.set()
            self.state = "given up"

    def say(self) -> str:
        """How it stands, in a sentence."""
        match self.state:
            case "finished":
                return "It is here."
            case "given up":
                return "The download was given up."
            case "failed":
                return self.problem
        quiet = time.monotonic() - self.moved
        waiting = f" Nothing came for {quiet:.0f} s." if quiet > STALLED else ""
        if not self.total:
            return f"Asking the Hub…{waiting}"
        return f"{self.done / 2**20:,.0f} of {self.total / 2**20:,.0f} MB are here.{waiting}"


class Downloads:
    """The downloads of this process, by name."""

    def __init__(self) -> None:
        self._all: dict[str, Download] = {}
        self._threads: list[threading.Thread] = []  # a place is held until its thread ends, though it was given up
        self._lock = threading.Lock()

    def start(self, name: str, fetch: Callable[[str, Watch], Path]) -> Download:
        """Begin a download, or join the one that runs.

        Raises:
            ValueError: too many run already.
        """
        with self._lock:
            download = self._all.get(name)
            if download is not None and download.running:
                return download
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= AT_ONCE:
                raise ValueError(f"{AT_ONCE} downloads are running or ending; try again when one of them is over.")
            download = Download(name)
            thread = threading.Thread(target=self._run, args=(download, fetch), daemon=True)
            thread.start()
            self._all[name] = download
            self._threads.append(thread)
        return download

    def of(self, name: str) -> Download | None:
        return self._all.get(name)

    @staticmethod
    def _run(download: Download, fetch: Callable[[str, Watch], Path]) -> None:
        def watch(done: int, total: int) -> None:
            if download.stop.is_set():
                raise GivenUp("The download was given up.")
            if done != download.done:
                download.moved = time.monotonic()
            download.done, download.total = done, total

        try:
            fetch(download.name, watch)
        except GivenUp:
            download.state = "given up"
        except ValueError as error:
            if not download.stop.is_set():
                download.problem, download.state = str(error), "failed"
        except Exception:  # whatever it is, the place must become free again
            logging.getLogger(__name__).exception("The download of %s failed", download.name)
            download.problem, download.state = "The download failed; the app's log says why.", "failed"
        else:
            download.state = "finished"
