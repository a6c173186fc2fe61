"""What a hub knows: accounts, repositories as chains of commits over immutable files, and the large files beside them."""

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

from tests.fake_hub.job_runner import Jobs
from tests.fake_hub.messages import Refused
from tests.fake_hub.xet import Xorb

Kind = Literal["models", "datasets", "spaces"]
Gate = Literal["auto", "manual", False]
Role = Literal["read", "write"]

LARGE = (".safetensors", ".pt", ".pth", ".bin", ".parquet", ".zip", ".npz")
MAIN = "main"


def git_hash(kind: str, data: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(data), data)).hexdigest()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Account:
    """A token: whose it is, what it may do, and the role of its owner in each of their organisations."""

    name: str
    token: str
    role: Role = "write"
    orgs: Mapping[str, str] = field(default_factory=dict)

    def belongs_to(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs

    def may_write_to(self, namespace: str) -> bool:
        rights = self.name == namespace or self.orgs.get(namespace) in ("admin", "write", "contributor")
        return rights and self.role == "write"


@dataclass(frozen=True)
class Blob:
    """A file's content; a large one lies in the storage, and git holds a pointer to it."""

    data: bytes
    large: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @cached_property
    def oid(self) -> str:
        return git_hash("blob", self.pointer if self.large else self.data)

    @property
    def etag(self) -> str:
        """What the client compares a local file with, and names a cached one by."""
        return self.sha256 if self.large else self.oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    files: Mapping[str, Blob]
    title: str
    message: str
    author: str
    date: str


@dataclass
class Repo:
    kind: Kind
    id: str
    private: bool = False
    gated: Gate = False
    disabled: bool = False
    granted: Collection[str] = ()  # who may pass the gate, besides its owner
    large: tuple[str, ...] = LARGE  # suffixes of files that are always large
    large_above: int = 10 * 2**20  # bytes
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, Commit] = field(default_factory=dict)
    created: str = field(default_factory=now)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def address(self) -> str:
        """The repository's path on the page: `alice/x`, `datasets/alice/x`."""
        return self.id if self.kind == "models" else f"{self.kind}/{self.id}"

    def is_large(self, path: str, size: int, sample: bytes) -> bool:
        return path.endswith(self.large) or size > self.large_above or b"\0" in sample

    def find(self, revision: str) -> Commit:
        """The commit of a branch, a tag or an id, which may be cut short."""
        revision = revision.removeprefix("refs/heads/")
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        found = [commit for known, commit in self.history.items() if known.startswith(oid) and len(oid) >= 7]
        if len(found) != 1:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found[0]

    def walk(self, commit: Commit) -> Iterator[Commit]:
        """The commit and those before it, newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.history[commit.parent]
            yield commit

    def write(self, branch: str, files: Mapping[str, Blob], title: str, author: str, message: str = "") -> Commit:
        """Let a branch go on with exactly these files."""
        for path in files:
            if path.startswith("/") or {"", ".", "..", ".git"} & set(path.split("/")):
                raise Refused(400, message=f"Invalid file path: {path!r}")
        parent = self.branches.get(branch)
        listing = "".join(f"{path} {blob.oid}\n" for path, blob in sorted(files.items()))
        oid = git_hash("commit", f"{len(self.history)} {self.kind}/{self.id} {parent} {title}\n{listing}".encode())
        commit = Commit(oid, parent, dict(sorted(files.items())), title, message, author, now())
        self.history[oid] = commit
        self.branches[branch] = oid
        return commit

    def changed(self, commit: Commit, path: str) -> Commit:
        """The last commit up to this one that touched a file, or a file of a folder."""
        for later, before in itertools.pairwise(self.walk(commit)):
            if content_at(later, path) != content_at(before, path):
                return later
        *_, first = self.walk(commit)
        return first


def content_at(commit: Commit, path: str) -> dict[str, str]:
    return {name: blob.oid for name, blob in commit.files.items() if name == path or name.startswith(f"{path}/")}


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that these files lie in, at whatever depth."""
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}


@dataclass
class Store:
    """All of it. `url` is the page and the API; `storage_url`, another origin, holds large files."""

    url: str = ""
    storage_url: str = ""
    page_size: int = 1000
    part_size: int | None = None  # larger files are sent in parts of so many bytes
    accounts: dict[str, Account] = field(default_factory=dict)
    repos: dict[tuple[Kind, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # by sha256
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)  # by sha256 and number
    xorbs: dict[str, Xorb] = field(default_factory=dict)
    jobs: Jobs = field(default_factory=Jobs)

    def create(self, kind: Kind, id: str, author: str, **settings) -> Repo:
        """A repository with the first commit that the Hub makes by itself."""
        repo = Repo(kind, id, **settings)
        rules = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in repo.large)
        repo.write(MAIN, {".gitattributes": Blob(rules.encode())}, "initial commit", author)
        self.repos[kind, id] = repo
        return repo

    def keep(self, blob: Blob) -> Blob:
        """Put a large file into the storage."""
        if blob.large:
            self.objects[blob.sha256] = blob.data
        return blob
