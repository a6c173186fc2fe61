"""Transactional outbox: checkpoints and static Spaces of a run that wait for their upload.

    runs/<id>/outbox/<time>-<id>/{entry.json, checkpoint/}
    runs/<id>/space-outbox/<time>-<id>/{entry.json, checkpoint/}

A checkpoint is first copied into the outbox and then uploaded with retries until the store has it: the network may
fail, the store may be busy, and the process may be killed at any moment. The commit message contains the id of the
entry. A store recognises by it a commit that succeeded although its response was lost, so nothing is published twice.
Training never waits for an upload.
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from ctm.io.json_files import read_json, write_json
from ctm.io.locks import file_lock
from ctm.stores import Destination, RepoType, StoreUnavailable
from ctm.stores.base import is_complete_folder
from training.event_stream import emit_event
from training.run_dir import RunDir

MIN_COMMIT_INTERVAL_S = 600.0
# Delays after the first, second, ... failed attempt; the last one repeats.
RETRY_BACKOFF_S = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 2_400.0, 3_600.0)
MAX_ATTEMPTS = 24  # about a day
PENDING_STATES = ("waiting", "sending")
ENTRY_FILENAME = "entry.json"
CHECKPOINT_DIRNAME = "checkpoint"
LOCK_FILENAME = "lock"
DRAFT_TTL_S = 3_600.0

log = logging.getLogger(__name__)

EntryState = Literal["waiting", "sending", "published", "refused", "given up", "superseded"]


@dataclass(frozen=True)
class OutboxEntry:
    """One upload of a checkpoint. All times are seconds since the epoch.

    Attributes:
        id: Unique id, part of the commit message.
        repo: Target repository, `namespace/name`.
        private: Whether a repository that has to be created is private.
        title: First part of the commit message.
        source: Fingerprint of the checkpoint, so that the same checkpoint is enqueued once.
        created: Time of enqueueing.
        state: State of the upload.
        tries: Number of attempts.
        next_try: Earliest time of the next attempt.
        problem: Error message of the last failed attempt.
        revision: Commit hash of the published checkpoint.
        url: Page of the commit.
        ended: Time at which the entry left the pending states.
    """

    id: str
    repo: str
    private: bool
    title: str
    source: str
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
        """Commit message, unique to this entry."""
        return f"{self.title} [{self.id}]"

    def format_status(self) -> str:
        """Return the state of the upload in one sentence."""
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
    """Outbox of one run. Several processes may use it: a file lock allows one delivery at a time.

    Args:
        run_path: Run directory.
        clock: Clock in seconds since the epoch.
        repo_type: What it publishes: checkpoints, or static Spaces. Each kind has a directory and retries of its own, so that
            neither waits for the other.
    """

    def __init__(self, run_path: Path, clock: Callable[[], float] = time.time, repo_type: RepoType = "model") -> None:
        run_dir = RunDir(Path(run_path))
        self.path = run_dir.outbox_dir if repo_type == "model" else run_dir.space_outbox_dir
        self.clock = clock
        self.repo_type = repo_type

    def entries(self) -> list[OutboxEntry]:
        """Return all entries, oldest first. Broken entry files are skipped with a warning."""
        entries = []
        for path in sorted(self.path.glob(f"[0-9]*/{ENTRY_FILENAME}")):
            try:
                entries.append(read_entry(path))
            except ValueError as error:
                log.warning("%s of %s", error, self.path.parent.name)
        return entries

    def reload(self, entry: OutboxEntry) -> OutboxEntry:
        """Return the present state of an entry from disk."""
        return next(candidate for candidate in self.entries() if candidate.id == entry.id)

    def enqueue(
        self,
        checkpoint: Path,
        repo: str,
        title: str,
        private: bool = False,
        extra_files: Mapping[str, bytes] | None = None,
        source: str = "",
    ) -> OutboxEntry:
        """Copy a checkpoint into the outbox; the original may change or disappear afterwards.

        If the newest entry of the repository holds the same checkpoint, that entry is returned and nothing is copied.

        Args:
            checkpoint: Directory of the checkpoint, or of the static Space.
            repo: Target repository, `namespace/name`.
            title: First part of the commit message.
            private: Whether a repository that has to be created is private.
            extra_files: Further files by name; they replace files of the same name.
            source: What the directory was made from; default: its own fingerprint.

        Returns:
            The entry of the checkpoint.

        Raises:
            ValueError: The checkpoint is incomplete, because it was removed in the meantime.
            OSError: The checkpoint cannot be read, or the outbox cannot be written.
        """
        source = source or compute_fingerprint(checkpoint)
        if (known_entry := self.find_entry(repo, source)) is not None:
            return known_entry
        self._remove_stale_drafts()
        entry = OutboxEntry(uuid.uuid4().hex[:12], repo, private, title, source, self.clock())
        self._write_entry(entry, checkpoint, extra_files or {})
        return entry

    def find_entry(self, repo: str, source: str) -> OutboxEntry | None:
        """Return the newest entry of a repository if it holds this source and was not refused; else None."""
        repo_entries = [
            entry for entry in self.entries() if entry.repo == repo and entry.state in (*PENDING_STATES, "published")
        ]
        return repo_entries[-1] if repo_entries and repo_entries[-1].source == source else None

    def _write_entry(self, entry: OutboxEntry, checkpoint: Path, extra_files: Mapping[str, bytes]) -> None:
        """Write the directory of a new entry, whole or not at all."""
        draft = self.path / f".{entry.id}"
        draft.mkdir(parents=True)
        try:
            shutil.copytree(checkpoint, draft / CHECKPOINT_DIRNAME, copy_function=link_or_copy)
            if not is_complete_folder(draft / CHECKPOINT_DIRNAME, self.repo_type):
                kind = "checkpoint" if self.repo_type == "model" else "static Space"
                raise ValueError(f"The {kind} {checkpoint.name} is incomplete.")
            for name, content in extra_files.items():
                (draft / CHECKPOINT_DIRNAME / name).unlink(missing_ok=True)  # it may be a hard link to the original
                (draft / CHECKPOINT_DIRNAME / name).write_bytes(content)
            write_json(draft / ENTRY_FILENAME, asdict(entry))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        draft.rename(self._get_entry_dir(entry))

    def seconds_until_due(self) -> float | None:
        """Return the seconds until the next attempt; None if no entry is pending."""
        entry = self._find_latest_pending()
        return None if entry is None else max(0.0, self._compute_due_time(entry) - self.clock())

    def deliver(self, store: Destination) -> OutboxEntry | None:
        """Upload the newest pending entry if it is due, and mark older pending entries of the same repo as superseded.

        Args:
            store: Destination of the upload.

        Returns:
            The entry after the attempt; None if nothing was attempted.

        Raises:
            OSError: The outbox cannot be read or written.
        """
        if not self.path.is_dir():  # there are no entries, or the run was deleted: a lock file would create it again
            return None
        with file_lock(self.path / LOCK_FILENAME) as is_locked:
            entry = self._find_latest_pending() if is_locked else None
            if entry is None or self._compute_due_time(entry) > self.clock():
                return None
            for older in self.entries():
                if older.state in PENDING_STATES and older.repo == entry.repo and older.id != entry.id:
                    self._close_entry(older, "superseded")
            return self._attempt(self._update_entry(entry, state="sending", tries=entry.tries + 1), store)

    def _attempt(self, entry: OutboxEntry, store: Destination) -> OutboxEntry:
        """Upload an entry once, and return the entry with the result."""
        checkpoint = self._get_entry_dir(entry) / CHECKPOINT_DIRNAME
        try:
            commit = store.publish(
                checkpoint, entry.repo, entry.commit_message, entry.private, repo_type=self.repo_type
            )
        except StoreUnavailable as error:
            if entry.tries >= MAX_ATTEMPTS:
                return self._close_entry(entry, "given up", problem=str(error))
            backoff_s = RETRY_BACKOFF_S[min(entry.tries, len(RETRY_BACKOFF_S)) - 1]
            next_try = self.clock() + max(error.retry_after_s or 0.0, backoff_s)
            return self._update_entry(entry, state="waiting", problem=str(error), next_try=next_try)
        except ValueError as error:
            return self._close_entry(entry, "refused", problem=str(error))
        return self._close_entry(entry, "published", problem="", revision=commit.revision, url=commit.url)

    def abandon_pending(self, problem: str) -> None:
        """Close all pending entries, because this host cannot send them.

        Args:
            problem: Why, in one sentence.
        """
        for entry in self.entries():
            if entry.state in PENDING_STATES:
                self._close_entry(entry, "given up", problem=problem)

    def _find_latest_pending(self) -> OutboxEntry | None:
        pending = [entry for entry in self.entries() if entry.state in PENDING_STATES and self._has_checkpoint(entry)]
        return pending[-1] if pending else None

    def _has_checkpoint(self, entry: OutboxEntry) -> bool:
        """Return whether the files of an entry exist on this host; those of a remote run do not."""
        return (self._get_entry_dir(entry) / CHECKPOINT_DIRNAME).is_dir()

    def _compute_due_time(self, entry: OutboxEntry) -> float:
        commit_times = [
            other.ended for other in self.entries() if other.state == "published" and other.repo == entry.repo
        ]
        return max([entry.next_try, *(ended + MIN_COMMIT_INTERVAL_S for ended in commit_times)])

    def _update_entry(self, entry: OutboxEntry, **changes: Any) -> OutboxEntry:
        entry = replace(entry, **changes)
        path = self._get_entry_dir(entry) / ENTRY_FILENAME
        write_json(path, asdict(entry))
        emit_event(str(path.relative_to(self.path.parent)), asdict(entry))
        return entry

    def _close_entry(self, entry: OutboxEntry, state: EntryState, **changes: Any) -> OutboxEntry:
        entry = self._update_entry(entry, state=state, ended=self.clock(), **changes)
        shutil.rmtree(self._get_entry_dir(entry) / CHECKPOINT_DIRNAME, ignore_errors=True)
        return entry

    def _get_entry_dir(self, entry: OutboxEntry) -> Path:
        return self.path / get_entry_dir_name(entry)

    def _remove_stale_drafts(self) -> None:
        """Remove partial entries of killed processes after an hour."""
        for draft in self.path.glob(".[0-9a-f]*"):
            if time.time() - draft.stat().st_mtime > DRAFT_TTL_S:
                shutil.rmtree(draft, ignore_errors=True)


def get_outboxes(run_path: Path) -> tuple[Outbox, Outbox]:
    """Return the outboxes of a run: that of its checkpoints, and that of its static Spaces."""
    return Outbox(run_path), Outbox(run_path, repo_type="space")


def get_entry_dir_name(entry: OutboxEntry) -> str:
    """Return the name of the directory of an entry: its creation time in milliseconds and its id."""
    return f"{int(entry.created * 1e3):015d}-{entry.id}"


def read_entry(path: Path) -> OutboxEntry:
    """Read an entry file.

    Args:
        path: The file `entry.json` of an entry directory.

    Raises:
        ValueError: The file is invalid, or its entry belongs into another directory.
    """
    try:
        entry = ENTRY_ADAPTER.validate_python(read_json(path))
        if get_entry_dir_name(entry) == path.parent.name:
            return entry
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{path.parent.name}/{path.name} is broken")


def compute_fingerprint(checkpoint: Path) -> str:
    """Return a string that distinguishes two states of a checkpoint directory, without reading its files."""
    files = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in checkpoint.iterdir() if path.is_file()
    )
    return f"{checkpoint.name} {uuid.uuid5(uuid.NAMESPACE_OID, repr(files)).hex}"


def link_or_copy(source: str, target: str) -> str:
    """Create a hard link, or a copy where links are impossible, and return the target.

    A link is safe because checkpoint files are replaced and never modified.
    """
    try:
        os.link(Path(source).resolve(), target)  # in the cache of the Hub, files are links
    except OSError:
        shutil.copy2(source, target)
    return target
