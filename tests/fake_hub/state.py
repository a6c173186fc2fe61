"""What a hub knows: accounts, repositories as chains of commits over immutable files, and the large files beside them."""

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
    """A token: whose it is, what it may do, and the role of its owner in each of their organisations."""

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
    """A file's content; a large one lies in the storage, and git holds a pointer to it."""

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
        """What the client compares a local file with, and names a cached one by."""
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
    allowed_users: Collection[str] = ()  # who may pass the gate, besides its owner
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
        """The repository's path on the page: `alice/x`, `datasets/alice/x`."""
        return self.repo_id if self.kind == "models" else f"{self.kind}/{self.repo_id}"

    def is_lfs(self, path: str, size: int, sample: bytes) -> bool:
        return path.endswith(self.lfs_suffixes) or size > self.lfs_threshold_bytes or b"\0" in sample

    def find(self, revision: str) -> RepoCommit:
        """The commit of a branch, a tag or an id, which may be cut short."""
        revision = revision.removeprefix("refs/heads/")
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        found = [commit for known, commit in self.history.items() if known.startswith(oid) and len(oid) >= 7]
        if len(found) != 1:
            raise HubHTTPError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found[0]

    def walk(self, commit: RepoCommit) -> Iterator[RepoCommit]:
        """The commit and those before it, newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.history[commit.parent]
            yield commit

    def write(self, branch: str, files: Mapping[str, Blob], title: str, author: str, message: str = "") -> RepoCommit:
        """Let a branch go on with exactly these files."""
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
        """The last commit up to this one that touched a file, or a file of a folder."""
        for later, before in itertools.pairwise(self.walk(commit)):
            if get_content(later, path) != get_content(before, path):
                return later
        *_, first = self.walk(commit)
        return first


def get_content(commit: RepoCommit, path: str) -> dict[str, str]:
    return {name: blob.oid for name, blob in commit.files.items() if name == path or name.startswith(f"{path}/")}


def list_folders(paths: Iterable[str]) -> set[str]:
    """Every folder that these files lie in, at whatever depth."""
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}


@dataclass
class HubState:
    """All of it. `url` is the page and the API; `storage_url`, another origin, holds large files."""

    url: str = ""
    storage_url: str = ""
    page_size: int = 1000
    part_size: int | None = None  # larger files are sent in parts of so many bytes
    accounts: dict[str, HubAccount] = field(default_factory=dict)
    repos: dict[tuple[RepoKind, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # by sha256
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)  # by sha256 and number
    xorbs: dict[str, Xorb] = field(default_factory=dict)
    jobs: HubJobs = field(default_factory=HubJobs)

    def create_repo(self, kind: RepoKind, repo_id: str, author: str, **settings) -> Repo:
        """A repository with the first commit that the Hub makes by itself."""
        repo = Repo(kind, repo_id, **settings)
        rules = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in repo.lfs_suffixes)
        repo.write(MAIN, {".gitattributes": Blob(rules.encode())}, "initial commit", author)
        self.repos[kind, repo_id] = repo
        return repo

    def add_blob(self, blob: Blob) -> Blob:
        """Put a large file into the storage."""
        if blob.is_lfs:
            self.objects[blob.sha256] = blob.data
        return blob
