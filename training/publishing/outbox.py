"""Publishing that survives: an outbox on disk beside the run.

    runs/<id>/outbox/<time>-<id>/{entry.json, checkpoint/}

What is to be published is put there first, and then tried until the store has it: the network may be gone, the store busy,
the process killed at any moment. The message of a publication holds its entry's id, by which a store recognises one that
landed though its answer got lost, so nothing is published twice. Training never waits for any of this.
"""

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from ctm.io.json_files import read_json, write_json
from ctm.io.locks import file_lock
from ctm.stores import Destination, StoreUnavailable
from ctm.stores.base import is_complete_checkpoint
from training.run_dir import emit_event

MIN_COMMIT_INTERVAL_S = 600.0  # seconds between two commits
RETRY_BACKOFF_S = (
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1_200.0,
    2_400.0,
    3_600.0,
)  # after the first, second ... failed try
MAX_ATTEMPTS = 24  # about a day
PENDING_STATES = ("waiting", "sending")

EntryState = Literal["waiting", "sending", "published", "refused", "given up", "superseded"]


@dataclass(frozen=True)
class OutboxEntry:
    """One publication: what, where to, and how it stands."""

    id: str
    repo: str
    private: bool
    title: str
    source: str  # what was copied, so that the same is not put in twice
    created: float
    state: EntryState = "waiting"
    tries: int = 0
    next_try: float = 0.0
    problem: str = ""
    revision: str = ""
    url: str = ""
    ended: float = 0.0

    @property
    def commit_message(self) -> str:
        """The commit's message, which no other publication has."""
        return f"{self.title} [{self.id}]"

    def format_status(self) -> str:
        """How it stands, in a sentence."""
        match self.state:
            case "published":
                return f"Published: {self.url}"
            case "refused" | "given up":
                return f"Not published ({self.state}): {self.problem}"
            case "superseded":
                return "Not published: a newer checkpoint took its place."
        return f"Waiting to be sent to {self.repo}{f' after this: {self.problem}' if self.problem else '.'}"


ENTRY_ADAPTER = TypeAdapter(OutboxEntry)


class Outbox:
    """The publications of one run.

    Args:
        run: the run folder.
        clock: seconds since the epoch.
    """

    def __init__(self, run_path: Path, clock: Callable[[], float] = time.time):
        self.path = Path(run_path) / "outbox"
        self.clock = clock

    def entries(self) -> list[OutboxEntry]:
        """All publications, oldest first; one whose file is broken is left out, and the log says so."""
        found = []
        for path in sorted(self.path.glob("[0-9]*/entry.json")):
            try:
                found.append(read_entry(path))
            except ValueError as error:
                logging.getLogger(__name__).warning("%s of %s", error, self.path.parent.name)
        return found

    def reload(self, entry: OutboxEntry) -> OutboxEntry:
        """A publication as it stands now."""
        return next(known for known in self.entries() if known.id == entry.id)

    def enqueue(
        self,
        checkpoint: Path,
        repo: str,
        title: str,
        private: bool = False,
        extra_files: Mapping[str, bytes] | None = None,
    ) -> OutboxEntry:
        """Take a checkpoint folder in, as it is now; it may change or vanish afterwards.

        Args:
            checkpoint: its folder.
            repo: where it is to go.
            title: first part of the commit's message.
            private: make the repository private if it has to be made.
            extra: further files, which take the place of those of the same name.

        Raises:
            ValueError: it is not whole, for it vanished meanwhile. `OSError` where it cannot be read or kept.
        """
        source = fingerprint(checkpoint)
        mine = [
            entry for entry in self.entries() if entry.repo == repo and entry.state in (*PENDING_STATES, "published")
        ]
        if mine and mine[-1].source == source:  # the newest there: nothing has to be sent
            return mine[-1]
        self._remove_stale_drafts()
        entry = OutboxEntry(uuid.uuid4().hex[:12], repo, private, title, source, self.clock())
        draft, folder = self.path / f".{entry.id}", self._get_entry_dir(entry)
        draft.mkdir(parents=True)
        try:
            shutil.copytree(checkpoint, draft / "checkpoint", copy_function=link_or_copy)
            if not is_complete_checkpoint(draft / "checkpoint"):
                raise ValueError(f"The checkpoint {checkpoint.name} is not whole.")
            for name, content in (extra_files or {}).items():
                (draft / "checkpoint" / name).unlink(missing_ok=True)  # it may be a link to the original
                (draft / "checkpoint" / name).write_bytes(content)
            write_json(draft / "entry.json", asdict(entry))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        draft.rename(folder)
        return entry

    def seconds_until_due(self) -> float | None:
        """Seconds until the next try; None if nothing waits."""
        entry = self._find_latest_pending()
        return None if entry is None else max(0.0, self._compute_due_time(entry) - self.clock())

    def deliver(self, store: Destination) -> OutboxEntry | None:
        """Try to publish the newest checkpoint that waits, if it is time; older ones are superseded by it.

        Returns:
            The entry as it stands afterwards; None if nothing was tried.
        """
        if not self.path.is_dir():  # nothing was ever put in, or the run was deleted: a lock would bring it back
            return None
        with file_lock(self.path / "lock") as alone:
            entry = self._find_latest_pending() if alone else None
            if entry is None or self._compute_due_time(entry) > self.clock():
                return None
            for older in self.entries():
                if older.state in PENDING_STATES and older.repo == entry.repo and older.id != entry.id:
                    self._close_entry(older, "superseded")
            entry = self._update_entry(entry, state="sending", tries=entry.tries + 1)
            try:
                commit = store.publish(
                    self._get_entry_dir(entry) / "checkpoint", entry.repo, entry.commit_message, entry.private
                )
            except StoreUnavailable as error:
                if entry.tries >= MAX_ATTEMPTS:
                    return self._close_entry(entry, "given up", problem=str(error))
                wait = max(error.retry_after_s or 0.0, RETRY_BACKOFF_S[min(entry.tries, len(RETRY_BACKOFF_S)) - 1])
                return self._update_entry(entry, state="waiting", problem=str(error), next_try=self.clock() + wait)
            except ValueError as error:
                return self._close_entry(entry, "refused", problem=str(error))
            return self._close_entry(entry, "published", problem="", revision=commit.revision, url=commit.url)

    def abandon_pending(self, problem: str) -> None:
        """End what waits, for it will never be sent from here."""
        for entry in self.entries():
            if entry.state in PENDING_STATES:
                self._close_entry(entry, "given up", problem=problem)

    def _find_latest_pending(self) -> OutboxEntry | None:
        live = [entry for entry in self.entries() if entry.state in PENDING_STATES and self._has_checkpoint(entry)]
        return live[-1] if live else None

    def _has_checkpoint(self, entry: OutboxEntry) -> bool:
        """Whether there is something to send; of a run that goes on elsewhere only the entries are known."""
        return (self._get_entry_dir(entry) / "checkpoint").is_dir()

    def _compute_due_time(self, entry: OutboxEntry) -> float:
        sent = [other.ended for other in self.entries() if other.state == "published" and other.repo == entry.repo]
        return max([entry.next_try, *(ended + MIN_COMMIT_INTERVAL_S for ended in sent)])

    def _update_entry(self, entry: OutboxEntry, **changes: Any) -> OutboxEntry:
        entry = replace(entry, **changes)
        path = self._get_entry_dir(entry) / "entry.json"
        write_json(path, asdict(entry))
        emit_event(str(path.relative_to(self.path.parent)), asdict(entry))
        return entry

    def _close_entry(self, entry: OutboxEntry, state: EntryState, **changes: Any) -> OutboxEntry:
        entry = self._update_entry(entry, state=state, ended=self.clock(), **changes)
        shutil.rmtree(self._get_entry_dir(entry) / "checkpoint", ignore_errors=True)
        return entry

    def _get_entry_dir(self, entry: OutboxEntry) -> Path:
        return self.path / get_entry_dir_name(entry)

    def _remove_stale_drafts(self) -> None:
        """Remove what a killed process left half-made."""
        for draft in self.path.glob(".[0-9a-f]*"):
            if time.time() - draft.stat().st_mtime > 3_600:
                shutil.rmtree(draft, ignore_errors=True)


class OutboxWorker:
    """Delivers from an outbox in the background of a training.

    Args:
        outbox: what is to be delivered.
        store: where to.
    """

    def __init__(self, outbox: Outbox, store: Destination):
        self.outbox, self.store = outbox, store
        self._wake_event, self._close_event = threading.Event(), threading.Event()
        self._deadline = float("inf")  # when whoever closes it stops waiting
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something new lies in the outbox."""
        self._wake_event.set()

    def close(self, timeout_s: float) -> None:
        """Wait so many seconds at most for what lies in the outbox; the rest stays there."""
        self._deadline = time.monotonic() + timeout_s
        self._close_event.set()
        self._wake_event.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._wake_event.clear()
            try:
                tried, waits = self.outbox.deliver(self.store), self.outbox.seconds_until_due()
            except OSError as error:  # the run folder's disk, not the network
                tried, waits = None, 60.0
                print(f"The outbox cannot be used just now: {error}")
            if self._close_event.is_set():
                left = self._deadline - time.monotonic()
                if waits is None or waits > left or (tried is None and not waits):
                    return
            self._wake_event.wait(min(max(waits, 0.1) if waits is not None else 3_600.0, 3_600.0))


def get_entry_dir_name(entry: OutboxEntry) -> str:
    """The name of an entry's folder."""
    return f"{int(entry.created * 1e3):015d}-{entry.id}"


def read_entry(path: Path) -> OutboxEntry:
    """The publication that a file in an outbox tells of.

    Raises:
        ValueError: it tells of none, or of one that lies elsewhere.
    """
    try:
        entry = ENTRY_ADAPTER.validate_python(read_json(path))
        if get_entry_dir_name(entry) == path.parent.name:
            return entry
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{path.parent.name}/{path.name} is broken")


def fingerprint(folder: Path) -> str:
    """What tells two states of a checkpoint folder apart, without reading it."""
    files = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()
    )
    return f"{folder.name} {uuid.uuid5(uuid.NAMESPACE_OID, repr(files)).hex}"


def link_or_copy(source: str, target: str) -> str:
    """A hard link, for checkpoint files are replaced and never changed; a copy where links cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
