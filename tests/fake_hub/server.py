"""A Hugging Face Hub on 127.0.0.1 for the real client in this process or in another one.

    with LoopbackHub() as hub:
        hub.add_user("alice", token="hf_alice_write")
        HfApi(endpoint=hub.url, token="hf_alice_write").create_repo("alice/x")

It has two origins: the page and its API at `url`, and the storage of large files at `storage_url`, which must not receive a
token of the Hub. All data is in memory. `add_fault` injects faults.
"""

import os
import threading
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fake_hub.fault_injection import Fault, FaultInjector, FaultKind
from tests.fake_hub.http_server import HOST, HubHTTPServer
from tests.fake_hub.job_runner import HubJobs
from tests.fake_hub.jobs_api import JOBS
from tests.fake_hub.messages import Request, Response
from tests.fake_hub.repo_api import API
from tests.fake_hub.state import MAIN, Blob, HubAccount, HubState, Repo, RepoCommit, RepoKind, Role
from tests.fake_hub.storage_api import STORAGE
from tests.fake_hub.transfer_api import TRANSFERS


@dataclass(frozen=True)
class LoggedRequest:
    """A request of the log. `status` is None if the connection was closed without a response."""

    origin: str  # "hub" or "storage"
    request: Request
    status: int | None
    fault: FaultKind | None = None

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def target(self) -> str:
        """Unquoted path and query."""
        return self.request.get_unquoted_target()

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    @property
    def token(self) -> str | None:
        return self.request.token


class LoopbackHub:
    """The hub: addresses, data, log of requests, and faults."""

    def __init__(self, port: int = 0, page_size: int = 1000, part_size: int | None = None):
        self.state = HubState(page_size=page_size, part_size=part_size)
        self.faults = FaultInjector()
        self.lock = threading.RLock()  # held while the state or the log is read or changed
        self.shutdown_event = threading.Event()
        self.crashes: list[str] = []
        self._log: list[LoggedRequest] = []
        self._listeners = [
            HubHTTPServer(self, "hub", API | TRANSFERS | JOBS, port),
            HubHTTPServer(self, "storage", STORAGE, 0),
        ]
        self.state.url, self.state.storage_url = (listener.url for listener in self._listeners)
        self.state.jobs.build_environment = self.build_environment

    def __enter__(self) -> "LoopbackHub":
        for listener in self._listeners:
            listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.close()
        if self.crashes and kind is None:
            raise RuntimeError("Internal error of the hub:\n" + "\n".join(self.crashes))

    def close(self) -> None:
        """Stop the servers and end all connections."""
        self.shutdown_event.set()
        for listener in self._listeners:
            listener.stop()
        self.jobs.clear()

    def reset(self) -> None:
        """Delete repositories, files, jobs, faults and requests; accounts and xorbs stay, because clients cache which xorbs they sent."""
        self.faults.clear()
        self.jobs.clear()
        with self.lock:
            for collection in (self.state.repos, self.state.objects, self.state.parts, self._log):
                collection.clear()

    @property
    def url(self) -> str:
        return self.state.url

    @property
    def storage_url(self) -> str:
        return self.state.storage_url

    @property
    def jobs(self) -> HubJobs:
        """Jobs. A test changes them, for example `hub.jobs.latest`; with `hub.jobs.run_commands` they run as processes."""
        return self.state.jobs

    def build_environment(self, home: Path, token: str | None = None, xet: bool = True) -> dict[str, str]:
        """Build the environment of a child process whose client uses this hub only."""
        hub_variables = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "" if xet else "1",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        } | ({"HF_TOKEN": token} if token else {})
        return {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))
        } | hub_variables

    # --- data ----------------------------------------------------------------------------------------------------

    def add_user(
        self, name: str, token: str, role: Role = "write", orgs: Mapping[str, str] | Iterable[str] = ()
    ) -> HubAccount:
        """Add a token of a user, who may have several. `orgs` maps organisations to roles; the default role is `write`."""
        roles = dict(orgs) if isinstance(orgs, Mapping) else dict.fromkeys(orgs, "write")
        with self.lock:
            self.state.accounts[token] = HubAccount(name, token, role, roles)
            return self.state.accounts[token]

    def remove_token(self, token: str) -> None:
        """Reject the token from now on, like an expired or revoked one."""
        with self.lock:
            del self.state.accounts[token]

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str] | None = None,
        kind: RepoKind = "models",
        lfs_suffixes: Iterable[str] | None = None,
        **settings: Any,
    ) -> Repo:
        """Add a repository with fields of `Repo` as settings; `files` form a second commit after the initial one of the Hub."""
        large = {} if lfs_suffixes is None else {"lfs_suffixes": tuple(lfs_suffixes)}
        with self.lock:
            repo = self.state.create_repo(kind, repo_id, repo_id.partition("/")[0], **large, **settings)
            if files:
                self.commit(repo_id, files, kind=kind)
            return repo

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str | None],
        title: str = "Upload files",
        revision: str = MAIN,
        kind: RepoKind = "models",
        author: str | None = None,
    ) -> str:
        """Commit files as another client; None deletes a file. Return the id of the commit."""
        with self.lock:
            repo = self.get_repo(repo_id, kind)
            after = dict(repo.find(revision).files)
            for path, content in files.items():
                if content is None:
                    del after[path]
                    continue
                data = content.encode() if isinstance(content, str) else content
                after[path] = self.state.add_blob(Blob(data, repo.is_lfs(path, len(data), data[:512])))
            return repo.write(revision, after, title, author or repo.owner).oid

    def get_repo(self, repo_id: str, kind: RepoKind = "models") -> Repo:
        return self.state.repos[kind, repo_id]

    def has_repo(self, repo_id: str, kind: RepoKind = "models") -> bool:
        return (kind, repo_id) in self.state.repos

    def read_files(self, repo_id: str, revision: str = MAIN, kind: RepoKind = "models") -> dict[str, bytes]:
        """Return the content of every file by path, without `.gitattributes` of the Hub."""
        with self.lock:
            files = self.get_repo(repo_id, kind).find(revision).files
            return {path: blob.data for path, blob in files.items() if path != ".gitattributes"}

    def list_commits(self, repo_id: str, revision: str = MAIN, kind: RepoKind = "models") -> list[RepoCommit]:
        """Return the commits, newest first; the last one is the initial commit of the Hub."""
        with self.lock:
            repo = self.get_repo(repo_id, kind)
            return list(repo.walk(repo.find(revision)))

    # --- requests and faults -------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[LoggedRequest]:
        with self.lock:
            return list(self._log)

    def find_requests(
        self, path: str = "", method: str | None = None, origin: str | None = None
    ) -> list[LoggedRequest]:
        """Return the requests whose target matches a regular expression."""
        pattern = Fault("drop", path, method)
        return [
            entry
            for entry in self.requests
            if origin in (None, entry.origin) and pattern.has_match(entry.request, None)
        ]

    def clear_requests(self) -> None:
        with self.lock:
            self._log.clear()

    def add_fault(self, kind: FaultKind, path: str = "", method: str | None = None, **settings: Any) -> Fault:
        """Inject a fault; see `tests.fake_hub.fault_injection` for the kinds and `Fault` for the settings."""
        return self.faults.add(Fault(kind, path, method, **settings))

    def log_request(self, origin: str, request: Request, response: Response | None, fault: Fault | None) -> None:
        status = response.status if response is not None else None
        kind = fault.kind if fault is not None else None
        with self.lock:
            self._log.append(LoggedRequest(origin, request, status, kind))

    def record_crash(self, error: BaseException) -> None:
        """Record an error of the hub itself; it is raised at the end of the context."""
        self.crashes.append("".join(traceback.format_exception(error)))
