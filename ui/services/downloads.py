"""Checkpoints on their way from the Hub, one thread each: the page never waits for them, and every tab sees the same."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ctm.stores import DownloadCancelled, ProgressCallback

MAX_CONCURRENT_DOWNLOADS = 2
STALL_TIMEOUT_S = 20.0  # seconds without a byte after which the page says so


@dataclass
class Download:
    """One download. Its thread writes, screens read."""

    name: str
    downloaded_bytes: int = 0
    total_bytes: int = 0
    state: str = "running"  # then: finished, failed, given up
    error_message: str = ""
    last_progress_at: float = field(default_factory=time.monotonic)  # when bytes last came
    cancel_event: threading.Event = field(default_factory=threading.Event)

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    def cancel(self) -> None:
        """End it. A connection that stalls is left alone until the client notices."""
        if self.is_running:
            self.cancel_event.set()
            self.state = "given up"

    def describe_status(self) -> str:
        """How it stands, in a sentence."""
        match self.state:
            case "finished":
                return "It is here."
            case "given up":
                return "The download was given up."
            case "failed":
                return self.error_message
        quiet = time.monotonic() - self.last_progress_at
        waiting = f" Nothing came for {quiet:.0f} s." if quiet > STALL_TIMEOUT_S else ""
        if not self.total_bytes:
            return f"Asking the Hub…{waiting}"
        return f"{self.downloaded_bytes / 2**20:,.0f} of {self.total_bytes / 2**20:,.0f} MB are here.{waiting}"


class DownloadManager:
    """The downloads of this process, by name."""

    def __init__(self) -> None:
        self._downloads: dict[str, Download] = {}
        self._threads: list[threading.Thread] = []  # a place is held until its thread ends, though it was given up
        self._lock = threading.Lock()

    def start(self, name: str, fetch: Callable[[str, ProgressCallback], Path]) -> Download:
        """Begin a download, or join the one that runs.

        Raises:
            ValueError: too many run already.
        """
        with self._lock:
            download = self._downloads.get(name)
            if download is not None and download.is_running:
                return download
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= MAX_CONCURRENT_DOWNLOADS:
                raise ValueError(
                    f"{MAX_CONCURRENT_DOWNLOADS} downloads are running or ending; try again when one of them is over."
                )
            download = Download(name)
            thread = threading.Thread(target=self._run, args=(download, fetch), daemon=True)
            thread.start()
            self._downloads[name] = download
            self._threads.append(thread)
        return download

    def get(self, name: str) -> Download | None:
        return self._downloads.get(name)

    @staticmethod
    def _run(download: Download, fetch: Callable[[str, ProgressCallback], Path]) -> None:
        def watch(done: int, total: int) -> None:
            if download.cancel_event.is_set():
                raise DownloadCancelled("The download was given up.")
            if done != download.downloaded_bytes:
                download.last_progress_at = time.monotonic()
            download.downloaded_bytes, download.total_bytes = done, total

        try:
            fetch(download.name, watch)
        except DownloadCancelled:
            download.state = "given up"
        except ValueError as error:
            if not download.cancel_event.is_set():
                download.error_message, download.state = str(error), "failed"
        except Exception:  # whatever it is, the place must become free again
            logging.getLogger(__name__).exception("The download of %s failed", download.name)
            download.error_message, download.state = "The download failed; the app's log says why.", "failed"
        else:
            download.state = "finished"
