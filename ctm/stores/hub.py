"""Checkpoints on the Hugging Face Hub.

A name is resolved to its commit once, and everything after that asks for that commit: what was described is what is fetched.
A commit whose files are here needs no network. Files are checked against the digests that the Hub keeps them under. What
comes from the Hub is safetensors and JSON; nothing is ever unpickled.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from huggingface_hub.utils import disable_progress_bars, httpx

from ctm.checkpoint import CARD, CONFIG, INDEX, NOTES, WEIGHTS, parts_of
from ctm.config import read_config
from ctm.io.atomic import read_json
from ctm.models.registry import refuse_absurd_size
from ctm.stores.base import SMALL, Commit, Description, Unavailable, Watch, describe_folder, is_whole, read_all
from ctm.stores.errors import refusal
from ctm.stores.hub_cache import counter, digest_of, looks_like_ours, recall, remember, verified
from ctm.stores.repo_ref import COMMIT, HubName

LARGEST = 5 * 2**30  # bytes; weights of the largest machine that is accepted
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
NOTE_FILES = (CONFIG, *(f"{name}.json" for name in NOTES), CARD)
FAILURES = (ValueError, OSError, RuntimeError, httpx.HTTPError)
NONSENSE = (LookupError, TypeError, AttributeError)  # what the client raises when an answer has another form


class HubStore:
    """The Hub, seen with one token.

    Args:
        models: names to list besides those that are here already.
        token: None uses the token of the environment, False none at all: strangers must not see with the owner's eyes.
        cache: where files are kept; the client's usual cache when not given.
        endpoint: another Hub.
        seconds: how long to wait for a single answer.
        spare: bytes that a fetch leaves free on the disk.
        largest: bytes of weights that are fetched at most.
    """

    def __init__(
        self,
        models: Iterable[str] = (),
        token: str | bool | None = None,
        cache: Path | None = None,
        endpoint: str | None = None,
        seconds: float = 10.0,
        spare: int = 2**30,
        largest: int = LARGEST,
    ):
        self.seconds, self.spare, self.largest = seconds, spare, largest
        self.models = [str(HubName.read(name)) for name in models]
        self.cache = Path(cache or constants.HF_HUB_CACHE)
        self.api = HfApi(endpoint=endpoint, token=token)
        disable_progress_bars()  # whoever fetches is told by `watch`; in the background a bar would disturb others

    def names(self) -> list[str]:
        """The listed models, then what is here besides, pinned to its commit."""
        return [*self.models, *(name for name in self.here() if HubName.read(name).repo not in self.models)]

    def here(self) -> list[str]:
        """Checkpoints whose weights are on this machine."""
        found = []
        for config in self.cache.glob("models--*--*/snapshots/*/**/config.json"):
            parts = config.relative_to(self.cache).parts
            repo, folder = parts[0].removeprefix("models--").replace("--", "/", 1), config.parent
            if is_whole(folder) and looks_like_ours(config):
                found.append(str(HubName(repo, parts[2], "/".join(parts[3:-1]))))
        return sorted(found)

    def folder_here(self, name: HubName) -> Path | None:
        """The folder of a checkpoint that is on this machine; a branch is what it was when last asked for."""
        if not name.is_pinned:
            name = name.at(recall(self._ref(name)))
        folder = self._folder(name)
        return folder if name.is_pinned and is_whole(folder) else None

    def describe(self, name: str) -> Description:
        """All that is known without fetching weights; where the Hub cannot be asked, of what is here already."""
        wanted = HubName.read(name)
        try:
            pinned, info = self._resolve(wanted)
        except Unavailable:
            if (folder := self.folder_here(wanted)) is None:
                raise
            pinned = wanted.at(folder.relative_to(self.cache).parts[2])
            return describe_folder(folder, str(pinned), pinned.revision)
        files = siblings(info)
        with self._sentences(pinned):
            folder = self._fetch_notes(pinned, files)
        weights = self._weights_of(pinned, files)
        return Description(
            name=str(pinned),
            revision=pinned.revision,
            updated=info.last_modified.date().isoformat() if info.last_modified else "",
            size=sum(files[path].size or 0 for path in weights),
            here=is_whole(folder),
            **read_all(folder),
        )

    def fetch(self, name: str, watch: Watch | None = None) -> Path:
        """The folder of a checkpoint, downloaded where it is not here yet.

        Args:
            name: as on the Hub.
            watch: called with bytes done and bytes in all; may raise `GivenUp`.
        """
        wanted = HubName.read(name)
        with self._sentences(wanted):
            here = self.folder_here(wanted)
            if wanted.is_pinned and here is not None:
                return verified(here)
            try:
                pinned, info = self._resolve(wanted)
            except Unavailable:
                if here is None:
                    raise
                return verified(here)
            files = siblings(info)
            folder = self._fetch_notes(pinned, files)
            refuse_absurd_size(read_config(read_all(folder)["config"], CONFIG), 3)
            self._fetch_weights(pinned, self._weights_of(pinned, files), files, watch)
            remember(self._ref(wanted), pinned.revision or "")
            return verified(folder)

    def publish(self, folder: Path, name: str, message: str, private: bool = False) -> Commit:
        """Put a checkpoint folder into a repository, in one commit on its main branch.

        The message must be unique: a publication whose answer got lost is recognised by it, and not made again.
        """
        target = HubName.read(name)
        if not is_whole(folder):
            raise ValueError(f"{folder.name} holds no whole checkpoint.")
        with self._sentences(target):
            self.api.create_repo(target.repo, private=private or None, exist_ok=True)
            paths = {target.inside(path.name): path for path in sorted(folder.iterdir()) if path.is_file()}
            for commit in self.api.list_repo_commits(target.repo):
                if commit.title == message:
                    self._confirm(target, commit.commit_id, paths)
                    return Commit(commit.commit_id, self._address(target, commit.commit_id))
            info = self.api.model_info(target.repo, files_metadata=True, timeout=self.seconds)
            known = {target.inside(file) for file in (*NOTE_FILES, WEIGHTS, INDEX)}
            stale = sorted((known & siblings(info).keys()) - paths.keys())
            operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
                *(CommitOperationAdd(path_in_repo=inside, path_or_fileobj=path) for inside, path in paths.items()),
                *(CommitOperationDelete(path_in_repo=inside) for inside in stale),
            ]
            made = self.api.create_commit(
                target.repo, operations, commit_message=message, parent_commit=info.sha, num_threads=2
            )
            self._confirm(target, made.oid, paths)
        return Commit(made.oid, self._address(target, made.oid))

    def prove_writable(self, name: str, private: bool = False) -> str:
        """Make sure that the token may write to a repository, which is made if need be; gives the account's name."""
        target = HubName.read(name)
        with self._sentences(target):
            account = self.api.whoami()["name"]
            self.api.create_repo(target.repo, private=private or None, exist_ok=True)
            self.api.auth_check(target.repo, write=True)
        return account

    # --- parts ---------------------------------------------------------------------------------------------------

    def _resolve(self, name: HubName) -> tuple[HubName, ModelInfo]:
        """The name at its commit, and what the Hub says of it."""
        with self._sentences(name):
            info = self.api.model_info(name.repo, revision=name.revision, files_metadata=True, timeout=self.seconds)
        if not info.sha or not COMMIT.fullmatch(info.sha):
            raise Unavailable(f"The Hub did not say which commit of {name.repo} is meant.")
        return name.at(info.sha), info

    def _fetch_notes(self, name: HubName, files: dict[str, RepoSibling]) -> Path:
        """Fetch the config, and of task, halting, metrics and card those that are there; their folder."""
        if name.inside(CONFIG) not in files:
            raise ValueError(no_checkpoint(name, files))
        for file in NOTE_FILES:
            if (path := name.inside(file)) in files:
                refuse_large(path, files[path].size, SMALL)
                self._download(name, path)
        return self._folder(name)

    def _weights_of(self, name: HubName, files: dict[str, RepoSibling]) -> list[str]:
        """Paths of the weight files; a parted checkpoint's index is fetched to know them."""
        if name.inside(WEIGHTS) in files:
            return [name.inside(WEIGHTS)]
        index = name.inside(INDEX)
        if index not in files:
            raise ValueError(no_checkpoint(name, files))
        refuse_large(index, files[index].size, SMALL)
        with self._sentences(name):
            self._download(name, index)
        paths = [name.inside(part) for part in parts_of(read_json(self._folder(name) / INDEX))]
        for path in paths:
            if path not in files:
                raise ValueError(f"{name.repo} lacks {path}, which its index names.")
        return paths

    def _fetch_weights(
        self, name: HubName, paths: list[str], files: dict[str, RepoSibling], watch: Watch | None
    ) -> None:
        sizes = {path: files[path].size or 0 for path in paths}
        total, done = sum(sizes.values()), 0
        refuse_large(f"The weights of {name.repo}", total, self.largest)
        self.cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.cache).free
        if free < total + self.spare:
            raise ValueError(
                f"{name.repo} needs {total / 2**30:.1f} GB and {free / 2**30:.1f} GB are free on the disk, "
                f"of which {self.spare / 2**30:.1f} GB stay so. Make room first."
            )
        for path, size in sizes.items():
            before = done

            def report(more: int, before: int = before, size: int = size) -> None:
                nonlocal done
                done = min(done + more, before + size)
                if watch is not None:
                    watch(done, total)

            report(0)
            self._download(name, path, report)
            done = before + size
            report(0)

    def _download(self, name: HubName, path: str, report: Callable[[int], None] | None = None) -> Path:
        found = hf_hub_download(
            name.repo,
            path,
            revision=name.revision,
            cache_dir=self.cache,
            endpoint=self.api.endpoint,
            token=self.api.token,
            etag_timeout=self.seconds,
            tqdm_class=counter(report),
        )
        return Path(found)

    def _folder(self, name: HubName) -> Path:
        """Where the files of a pinned name are kept."""
        repo = self.cache / f"models--{name.repo.replace('/', '--')}"
        return repo / "snapshots" / str(name.revision) / name.subfolder

    def _ref(self, name: HubName) -> Path:
        """Where the client keeps the commit that a branch or tag stood for."""
        return self.cache / f"models--{name.repo.replace('/', '--')}" / "refs" / (name.revision or "main")

    def _confirm(self, name: HubName, revision: str, paths: dict[str, Path]) -> None:
        """Make sure that the commit holds what was sent."""
        held = siblings(self.api.model_info(name.repo, revision=revision, files_metadata=True, timeout=self.seconds))
        for inside, path in paths.items():
            there = held.get(inside)
            digest = (there.lfs.sha256 if there.lfs else there.blob_id) if there else None
            if digest is None or digest_of(path, digest) != digest:
                raise Unavailable(f"The Hub took the commit but does not hold {inside} as it was sent.")

    def _address(self, name: HubName, commit: str) -> str:
        return f"{self.api.endpoint}/{name.repo}/commit/{commit}"

    @contextmanager
    def _sentences(self, name: HubName) -> Iterator[None]:
        """Turn whatever the client raises into one sentence."""
        try:
            yield
        except (*FAILURES, *NONSENSE) as error:
            raise refusal(error, name) from None


def siblings(info: ModelInfo) -> dict[str, RepoSibling]:
    return {file.rfilename: file for file in info.siblings or []}


def no_checkpoint(name: HubName, files: Iterable[str]) -> str:
    """Why a repository without config or weights cannot be used."""
    pickles = [path for path in files if path.endswith(PICKLES)]
    if pickles:
        return (
            f"{name} holds pickles ({', '.join(pickles[:3])}), which are never opened here: "
            "download one that you trust and turn it into a checkpoint with python -m ctm.convert."
        )
    return f"{name} holds no checkpoint: config.json and model.safetensors are needed."


def refuse_large(what: str, size: int | None, most: int) -> None:
    if (size or 0) > most:
        raise ValueError(f"{what}: {size:,} bytes are more than the {most:,} that are read.")
