"""Background downloads of checkpoints, one thread each: the page does not block, and all sessions share them."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ctm.stores import DownloadCancelled, ProgressCallback

MAX_CONCURRENT_DOWNLOADS = 2
STALL_TIMEOUT_S = 20.0  # without progress; then the status mentions it


@dataclass
class Download:
    """State of one download, written by its thread and read by the page.

    Attributes:
        name: Name of the checkpoint.
        downloaded_bytes: Bytes received.
        total_bytes: Bytes expected; 0 while unknown.
        state: "running", "finished", "failed" or "cancelled".
        error_message: Reason of a failure.
        last_progress_at: Monotonic time of the last received byte, in seconds.
        cancel_event: Set to cancel the download.
    """

    name: str
    downloaded_bytes: int = 0
    total_bytes: int = 0
    state: str = "running"
    error_message: str = ""
    last_progress_at: float = field(default_factory=time.monotonic)
    cancel_event: threading.Event = field(default_factory=threading.Event)

    @property
    def is_running(self) -> bool:
        """Return whether the download is in progress."""
        return self.state == "running"

    def cancel(self) -> None:
        """Cancel the download. A stalled connection ends only when the Hub client times out."""
        if self.is_running:
            self.cancel_event.set()
            self.state = "cancelled"

    def describe_status(self) -> str:
        """Return the status in one sentence."""
        match self.state:
            case "finished":
                return "Downloaded."
            case "cancelled":
                return "Download cancelled."
            case "failed":
                return self.error_message
        idle_s = time.monotonic() - self.last_progress_at
        stall_note = f" No data for {idle_s:.0f} s." if idle_s > STALL_TIMEOUT_S else ""
        if not self.total_bytes:
            return f"Contacting the Hub …{stall_note}"
        return f"{self.downloaded_bytes / 2**20:,.0f} of {self.total_bytes / 2**20:,.0f} MB downloaded.{stall_note}"


class DownloadManager:
    """Downloads of this process by name. Thread-safe."""

    def __init__(self) -> None:
        self._downloads: dict[str, Download] = {}
        self._threads: list[threading.Thread] = []  # a cancelled download counts until its thread ends
        self._lock = threading.Lock()

    def start(self, name: str, fetch: Callable[[str, ProgressCallback], Path]) -> Download:
        """Start a download, or return the one that is running.

        Args:
            name: Name of the checkpoint.
            fetch: Downloads the checkpoint of a name and reports its progress.

        Raises:
            ValueError: Too many downloads are running.
        """
        with self._lock:
            download = self._downloads.get(name)
            if download is not None and download.is_running:
                return download
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= MAX_CONCURRENT_DOWNLOADS:
                raise ValueError(
                    f"{MAX_CONCURRENT_DOWNLOADS} downloads are running or ending; try again when one of them has ended."
                )
            download = Download(name)
            thread = threading.Thread(target=self._run, args=(download, fetch), daemon=True)
            thread.start()
            self._downloads[name] = download
            self._threads.append(thread)
        return download

    def get(self, name: str) -> Download | None:
        """Return the newest download of a name, or None."""
        return self._downloads.get(name)

    @staticmethod
    def _run(download: Download, fetch: Callable[[str, ProgressCallback], Path]) -> None:
        def report_progress(done: int, total: int) -> None:
            if download.cancel_event.is_set():
                raise DownloadCancelled("Download cancelled.")
            if done != download.downloaded_bytes:
                download.last_progress_at = time.monotonic()
            download.downloaded_bytes = done
            download.total_bytes = total

        try:
            fetch(download.name, report_progress)
        except DownloadCancelled:
            download.state = "cancelled"
        except ValueError as error:
            if not download.cancel_event.is_set():
                download.error_message, download.state = str(error), "failed"
        except Exception:  # the thread must end so that its slot becomes free
            logging.getLogger(__name__).exception("The download of %s failed", download.name)
            download.error_message, download.state = "The download failed. The log of the app has the reason.", "failed"
        else:
            download.state = "finished"
