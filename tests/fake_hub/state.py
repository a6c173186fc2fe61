"""State of the hub: accounts, repositories with commits over immutable files, and the storage of large files."""

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

from tests.fake_hub.job_runner import HubJobs
from tests.fake_hub.messages import HubHTTPError
from tests.fake_hub.xet import Xorb

RepoKind = Literal["models", "datasets", "spaces"]
GatedMode = Literal["auto", "manual", False]
Role = Literal["read", "write"]

LFS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".parquet", ".zip", ".npz")
MAIN = "main"


def compute_git_hash(kind: str, data: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(data), data)).hexdigest()


def format_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class HubAccount:
    """A token with its owner, its role, and the roles of the owner in organisations."""

    name: str
    token: str
    role: Role = "write"
    orgs: Mapping[str, str] = field(default_factory=dict)

    def is_member_of(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs

    def can_write_to(self, namespace: str) -> bool:
        rights = self.name == namespace or self.orgs.get(namespace) in ("admin", "write", "contributor")
        return rights and self.role == "write"


@dataclass(frozen=True)
class Blob:
    """Content of a file; a large one is in the storage, and git has a pointer to it."""

    data: bytes
    is_lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @cached_property
    def oid(self) -> str:
        return compute_git_hash("blob", self.pointer if self.is_lfs else self.data)

    @property
    def etag(self) -> str:
        """Identifier with which the client compares local files and names cached ones."""
        return self.sha256 if self.is_lfs else self.oid


@dataclass(frozen=True)
class RepoCommit:
    oid: str
    parent: str | None
    files: Mapping[str, Blob]
    title: str
    message: str
    author: str
    date: str


@dataclass
class Repo:
    kind: RepoKind
    repo_id: str
    private: bool = False
    gated: GatedMode = False
    disabled: bool = False
    allowed_users: Collection[str] = ()  # accounts with access to a gated repository, besides the owner
    lfs_suffixes: tuple[str, ...] = LFS_SUFFIXES  # suffixes of files that are always large
    lfs_threshold_bytes: int = 10 * 2**20  # bytes
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, RepoCommit] = field(default_factory=dict)
    created_at: str = field(default_factory=format_now)

    @property
    def owner(self) -> str:
        return self.repo_id.partition("/")[0]

    @property
    def url_path(self) -> str:
        """Path of the repository in URLs: `alice/x`, `datasets/alice/x`."""
        return self.repo_id if self.kind == "models" else f"{self.kind}/{self.repo_id}"

    def is_lfs(self, path: str, size: int, sample: bytes) -> bool:
        return path.endswith(self.lfs_suffixes) or size > self.lfs_threshold_bytes or b"\0" in sample

    def find(self, revision: str) -> RepoCommit:
        """Return the commit of a branch, a tag, or a full or abbreviated id."""
        revision = revision.removeprefix("refs/heads/")
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        commits = [commit for known_oid, commit in self.history.items() if known_oid.startswith(oid) and len(oid) >= 7]
        if len(commits) != 1:
            raise HubHTTPError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commits[0]

    def walk(self, commit: RepoCommit) -> Iterator[RepoCommit]:
        """Yield the commit and its ancestors, newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.history[commit.parent]
            yield commit

    def write(self, branch: str, files: Mapping[str, Blob], title: str, author: str, message: str = "") -> RepoCommit:
        """Commit exactly these files to a branch."""
        for path in files:
            if path.startswith("/") or {"", ".", "..", ".git"} & set(path.split("/")):
                raise HubHTTPError(400, message=f"Invalid file path: {path!r}")
        parent = self.branches.get(branch)
        listing = "".join(f"{path} {blob.oid}\n" for path, blob in sorted(files.items()))
        oid = compute_git_hash(
            "commit", f"{len(self.history)} {self.kind}/{self.repo_id} {parent} {title}\n{listing}".encode()
        )
        commit = RepoCommit(oid, parent, dict(sorted(files.items())), title, message, author, format_now())
        self.history[oid] = commit
        self.branches[branch] = oid
        return commit

    def find_last_change(self, commit: RepoCommit, path: str) -> RepoCommit:
        """Return the last commit up to this one that changed a file, or a file of a directory."""
        for later, before in itertools.pairwise(self.walk(commit)):
            if get_content(later, path) != get_content(before, path):
                return later
        *_, first = self.walk(commit)
        return first


def get_content(commit: RepoCommit, path: str) -> dict[str, str]:
    return {name: blob.oid for name, blob in commit.files.items() if name == path or name.startswith(f"{path}/")}


def list_folders(paths: Iterable[str]) -> set[str]:
    """Return all parent directories of these files."""
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}


@dataclass
class HubState:
    """Complete state. `url` is the origin of the page and the API, `storage_url` that of large files."""

    url: str = ""
    storage_url: str = ""
    page_size: int = 1000
    part_size: int | None = None  # larger files are uploaded in parts of this size, in bytes
    accounts: dict[str, HubAccount] = field(default_factory=dict)
    repos: dict[tuple[RepoKind, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # by sha256
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)  # by sha256 and number
    xorbs: dict[str, Xorb] = field(default_factory=dict)
    jobs: HubJobs = field(default_factory=HubJobs)

    def create_repo(self, kind: RepoKind, repo_id: str, author: str, **settings) -> Repo:
        """Create a repository with the initial commit of the Hub."""
        repo = Repo(kind, repo_id, **settings)
        rules = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in repo.lfs_suffixes)
        repo.write(MAIN, {".gitattributes": Blob(rules.encode())}, "initial commit", author)
        self.repos[kind, repo_id] = repo
        return repo

    def add_blob(self, blob: Blob) -> Blob:
        """Add a file to the storage if it is large, and return it."""
        if blob.is_lfs:
            self.objects[blob.sha256] = blob.data
        return blob
