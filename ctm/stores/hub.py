"""Checkpoint store on the Hugging Face Hub.

A name is resolved to a commit once, and every later request names that commit: the described version is the fetched
version. A cached commit needs no network. Files are verified against the digests of the Hub. Only safetensors and JSON
are read; nothing is ever unpickled.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

from ctm.checkpoint import (
    CONFIG_NAME,
    METADATA_NAMES,
    MODEL_CARD_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    parse_shard_filenames,
)
from ctm.checkpoint.layout import LAYOUT_NAME
from ctm.checkpoint.metadata import MAX_METADATA_BYTES
from ctm.checkpoint.preview import MAX_PREVIEW_BYTES, PREVIEW_NAME
from ctm.config import read_config
from ctm.io.json_files import read_json
from ctm.models.registry import check_parameter_limit
from ctm.stores.base import (
    CheckpointDescription,
    Commit,
    ProgressCallback,
    RepoType,
    StoreUnavailable,
    describe_checkpoint_dir,
    is_complete_checkpoint,
    is_complete_folder,
    read_checkpoint_info,
)
from ctm.stores.errors import translate_hub_error
from ctm.stores.hub_cache import (
    compute_digest,
    is_ctm_config,
    make_progress_tqdm,
    read_cached_ref,
    verify_checksums,
    write_cached_ref,
)
from ctm.stores.repo_ref import COMMIT_HASH_PATTERN, HubRef

MAX_WEIGHT_BYTES = 5 * 2**30  # more than `MAX_PARAMETERS` in float32
PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
METADATA_FILES = (CONFIG_NAME, *(f"{name}.json" for name in METADATA_NAMES), LAYOUT_NAME, MODEL_CARD_NAME)
CLIENT_ERRORS = (ValueError, OSError, RuntimeError, httpx.HTTPError)
# Raised by the client for a response of unexpected form.
MALFORMED_RESPONSE_ERRORS = (LookupError, TypeError, AttributeError)


class HubStore:
    """Checkpoints on the Hub that one token can access.

    Args:
        models: Names to list besides the cached ones.
        token: Access token; None uses the token of the environment, False uses none. Requests of visitors must not use
            the owner's token.
        cache_dir: Cache directory; default: the cache of huggingface_hub.
        endpoint: URL of another Hub.
        timeout_s: Seconds to wait for a single response.
        min_free_bytes: Disk space that a download leaves free, bytes.
        max_weight_bytes: Maximum size of the weights of a download, bytes.
    """

    def __init__(
        self,
        models: Iterable[str] = (),
        token: str | bool | None = None,
        cache_dir: Path | None = None,
        endpoint: str | None = None,
        timeout_s: float = 10.0,
        min_free_bytes: int = 2**30,
        max_weight_bytes: int = MAX_WEIGHT_BYTES,
    ) -> None:
        self.timeout_s = timeout_s
        self.min_free_bytes = min_free_bytes
        self.max_weight_bytes = max_weight_bytes
        self.models = [str(HubRef.parse(name)) for name in models]
        self.cache_dir = Path(cache_dir or constants.HF_HUB_CACHE)
        self.api = HfApi(endpoint=endpoint, token=token)
        disable_progress_bars()  # progress is reported by `on_progress`

    def list_names(self) -> list[str]:
        """Return the configured models, then other cached checkpoints, pinned to their commit."""
        return [
            *self.models,
            *(name for name in self.list_cached_checkpoints() if HubRef.parse(name).repo not in self.models),
        ]

    def list_cached_checkpoints(self) -> list[str]:
        """Return the names of checkpoints whose weights are in the cache."""
        names = []
        for config in self.cache_dir.glob("models--*--*/snapshots/*/**/config.json"):
            parts = config.relative_to(self.cache_dir).parts
            repo = parts[0].removeprefix("models--").replace("--", "/", 1)
            if is_complete_checkpoint(config.parent) and is_ctm_config(config):
                names.append(str(HubRef(repo, parts[2], "/".join(parts[3:-1]))))
        return sorted(names)

    def find_cached_dir(self, name: HubRef) -> Path | None:
        """Return the cached directory of a checkpoint, or None; a branch resolves to its last known commit."""
        if not name.is_pinned:
            name = name.with_revision(read_cached_ref(self._get_ref_path(name)))
        folder = self._get_snapshot_dir(name)
        return folder if name.is_pinned and is_complete_checkpoint(folder) else None

    def describe(self, name: str) -> CheckpointDescription:
        """Return the description of a checkpoint, without downloading its weights.

        If the Hub cannot be reached, a cached version is described.
        """
        ref = HubRef.parse(name)
        try:
            pinned, info = self._resolve(ref)
        except StoreUnavailable:
            if (folder := self.find_cached_dir(ref)) is None:
                raise
            pinned = HubRef.parse(self.get_pinned_name(name, folder))
            return describe_checkpoint_dir(folder, str(pinned), pinned.revision)
        files = get_siblings_by_path(info)
        with self._translate_errors(pinned):
            folder = self._download_metadata(pinned, files)
        weights = self._list_weight_paths(pinned, files)
        return CheckpointDescription(
            name=str(pinned),
            revision=pinned.revision,
            last_modified=info.last_modified.date().isoformat() if info.last_modified else "",
            size_bytes=sum(files[path].size or 0 for path in weights),
            is_downloaded=is_complete_checkpoint(folder),
            **read_checkpoint_info(folder),
        )

    def get_pinned_name(self, name: str, folder: Path) -> str:
        """Return the name of a checkpoint, pinned to its commit.

        Args:
            name: Name on the Hub.
            folder: Its cached directory.
        """
        return str(HubRef.parse(name).with_revision(folder.relative_to(self.cache_dir).parts[2]))

    def fetch_cached(self, name: str) -> Path:
        """Return the directory of a cached checkpoint, without network access.

        Args:
            name: Name on the Hub; a branch or tag resolves to its last known commit.

        Raises:
            ValueError: It is not cached.
            StoreUnavailable: A file is damaged; it has been removed.
        """
        ref = HubRef.parse(name)
        if (folder := self.find_cached_dir(ref)) is None:
            raise ValueError(f"{ref} is not in the cache {self.cache_dir}: load it once with network access.")
        return verify_checksums(folder)

    def fetch(self, name: str, on_progress: ProgressCallback | None = None, *, force_download: bool = False) -> Path:
        """Return the local directory of a checkpoint; download it if it is not cached.

        Args:
            name: Name on the Hub.
            on_progress: Called with downloaded and total bytes; may raise `DownloadCancelled`.
            force_download: Download the files even if they are cached.
        """
        ref = HubRef.parse(name)
        with self._translate_errors(ref):
            cached_dir = None if force_download else self.find_cached_dir(ref)
            if ref.is_pinned and cached_dir is not None:
                return verify_checksums(cached_dir)
            try:
                pinned, info = self._resolve(ref)
            except StoreUnavailable:
                if cached_dir is None:
                    raise
                return verify_checksums(cached_dir)
            files = get_siblings_by_path(info)
            folder = self._download_metadata(pinned, files, force_download)
            check_parameter_limit(read_config(read_checkpoint_info(folder)["config"], CONFIG_NAME), 3)
            weights = self._list_weight_paths(pinned, files)
            self._download_weights(pinned, weights, files, on_progress, force_download)
            write_cached_ref(self._get_ref_path(ref), pinned.revision or "")
            return verify_checksums(folder)

    def publish(
        self, folder: Path, name: str, message: str, private: bool = False, repo_type: RepoType = "model"
    ) -> Commit:
        """Publish a checkpoint directory as one commit on the main branch of a repository; or with `space`, a static Space.

        The message must be unique: if the response of a commit is lost, the next call recognises the commit by its
        message and does not repeat it.
        """
        target = HubRef.parse(name)
        if not is_complete_folder(folder, repo_type):
            raise ValueError(
                f"{folder.name} holds no whole {'checkpoint' if repo_type == 'model' else 'static Space'}."
            )
        if repo_type == "space" and (target.revision or target.subfolder):
            raise ValueError(f"A Space is published to its main branch: name it as namespace/name, got {name[:80]!r}.")
        with self._translate_errors(target):
            self._create_repo(target, private, repo_type)
            paths = {target.get_path_in_repo(path.name): path for path in sorted(folder.iterdir()) if path.is_file()}
            for commit in self.api.list_repo_commits(target.repo, repo_type=repo_type):
                if commit.title == message:
                    self._verify_commit(target, commit.commit_id, paths, repo_type)
                    return Commit(commit.commit_id, self._build_commit_url(target, commit.commit_id, repo_type))
            info = self.api.repo_info(target.repo, repo_type=repo_type, files_metadata=True, timeout=self.timeout_s)
            known = {
                target.get_path_in_repo(file)
                for file in (*METADATA_FILES, PREVIEW_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
                if repo_type == "model"
            }
            stale_paths = sorted((known & get_siblings_by_path(info).keys()) - paths.keys())
            operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
                *(
                    CommitOperationAdd(path_in_repo=repo_path, path_or_fileobj=path)
                    for repo_path, path in paths.items()
                ),
                *(CommitOperationDelete(path_in_repo=repo_path) for repo_path in stale_paths),
            ]
            result = self.api.create_commit(
                target.repo,
                operations,
                commit_message=message,
                parent_commit=info.sha,
                num_threads=2,
                repo_type=repo_type,
            )
            self._verify_commit(target, result.oid, paths, repo_type)
        return Commit(result.oid, self._build_commit_url(target, result.oid, repo_type))

    def check_write_access(self, name: str, private: bool = False, repo_type: RepoType = "model") -> str:
        """Check that the token may write to a repository; create the repository if it does not exist.

        Returns:
            Name of the account.
        """
        target = HubRef.parse(name)
        with self._translate_errors(target):
            account = self.api.whoami()["name"]
            self._create_repo(target, private, repo_type)
            self.api.auth_check(target.repo, repo_type=repo_type, write=True)
        return account

    # --- parts ---------------------------------------------------------------------------------------------------

    def _create_repo(self, target: HubRef, private: bool, repo_type: RepoType) -> None:
        """Create a repository if it does not exist. A Space that is not static is rejected: it would be replaced."""
        space_sdk = "static" if repo_type == "space" else None
        self.api.create_repo(
            target.repo, private=private or None, repo_type=repo_type, space_sdk=space_sdk, exist_ok=True
        )
        if space_sdk:
            sdk = self.api.space_info(target.repo, timeout=self.timeout_s).sdk
            if sdk not in (None, space_sdk):
                raise ValueError(
                    f"{target.repo} is a Space with the SDK {sdk!r}, which a static Space would replace: name another one."
                )

    def _resolve(self, name: HubRef) -> tuple[HubRef, ModelInfo]:
        """Return the name pinned to its commit, and the repository information."""
        with self._translate_errors(name):
            info = self.api.model_info(name.repo, revision=name.revision, files_metadata=True, timeout=self.timeout_s)
        if not info.sha or not COMMIT_HASH_PATTERN.fullmatch(info.sha):
            raise StoreUnavailable(f"The Hub did not say which commit of {name.repo} is meant.")
        return name.with_revision(info.sha), info

    def _download_metadata(self, name: HubRef, files: dict[str, RepoSibling], force_download: bool = False) -> Path:
        """Download the config and the existing metadata files and card; return their directory."""
        if name.get_path_in_repo(CONFIG_NAME) not in files:
            raise ValueError(format_missing_checkpoint(name, files))
        for file in METADATA_FILES:
            if (path := name.get_path_in_repo(file)) in files:
                check_download_size(path, files[path].size, MAX_METADATA_BYTES)
                self._download(name, path, force_download=force_download)
        preview = files.get(name.get_path_in_repo(PREVIEW_NAME))
        if preview is not None and (preview.size or 0) <= MAX_PREVIEW_BYTES:  # optional: a larger one is left out
            self._download(name, preview.rfilename, force_download=force_download)
        return self._get_snapshot_dir(name)

    def _list_weight_paths(self, name: HubRef, files: dict[str, RepoSibling]) -> list[str]:
        """Return the paths of the weight files; downloads the index of a sharded checkpoint."""
        if name.get_path_in_repo(WEIGHTS_NAME) in files:
            return [name.get_path_in_repo(WEIGHTS_NAME)]
        index = name.get_path_in_repo(WEIGHTS_INDEX_NAME)
        if index not in files:
            raise ValueError(format_missing_checkpoint(name, files))
        check_download_size(index, files[index].size, MAX_METADATA_BYTES)
        with self._translate_errors(name):
            self._download(name, index)
        paths = [
            name.get_path_in_repo(part)
            for part in parse_shard_filenames(read_json(self._get_snapshot_dir(name) / WEIGHTS_INDEX_NAME))
        ]
        for path in paths:
            if path not in files:
                raise ValueError(f"{name.repo} lacks {path}, which its index names.")
        return paths

    def _download_weights(
        self,
        name: HubRef,
        paths: list[str],
        files: dict[str, RepoSibling],
        on_progress: ProgressCallback | None,
        force_download: bool,
    ) -> None:
        """Download the weight files one after the other, and report the progress over all of them."""
        sizes = {path: files[path].size or 0 for path in paths}
        total = sum(sizes.values())
        done = 0
        check_download_size(f"The weights of {name.repo}", total, self.max_weight_bytes)
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.cache_dir).free
        if free < total + self.min_free_bytes:
            raise ValueError(
                f"{name.repo} needs {total / 2**30:.1f} GB and {free / 2**30:.1f} GB are free on the disk, "
                f"of which {self.min_free_bytes / 2**30:.1f} GB stay so. Make room first."
            )
        for path, size in sizes.items():
            before = done

            def report(more: int, before: int = before, size: int = size) -> None:
                nonlocal done
                done = min(done + more, before + size)
                if on_progress is not None:
                    on_progress(done, total)

            report(0)
            self._download(name, path, report, force_download)
            done = before + size
            report(0)

    def _download(
        self,
        name: HubRef,
        path: str,
        report: Callable[[int], None] | None = None,
        force_download: bool = False,
    ) -> Path:
        path_in_cache = hf_hub_download(
            name.repo,
            path,
            revision=name.revision,
            cache_dir=self.cache_dir,
            endpoint=self.api.endpoint,
            token=self.api.token,
            etag_timeout=self.timeout_s,
            force_download=force_download,
            tqdm_class=make_progress_tqdm(report),
        )
        return Path(path_in_cache)

    def _get_snapshot_dir(self, name: HubRef) -> Path:
        """Return the cache directory of a pinned name."""
        repo = self.cache_dir / f"models--{name.repo.replace('/', '--')}"
        return repo / "snapshots" / str(name.revision) / name.subfolder

    def _get_ref_path(self, name: HubRef) -> Path:
        """Return the path at which the client caches the commit of a branch or tag."""
        return self.cache_dir / f"models--{name.repo.replace('/', '--')}" / "refs" / (name.revision or "main")

    def _verify_commit(self, name: HubRef, revision: str, paths: dict[str, Path], repo_type: RepoType) -> None:
        """Check that the commit holds the files as they were sent."""
        info = self.api.repo_info(
            name.repo, repo_type=repo_type, revision=revision, files_metadata=True, timeout=self.timeout_s
        )
        siblings = get_siblings_by_path(info)
        for repo_path, path in paths.items():
            sibling = siblings.get(repo_path)
            digest = (sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) if sibling else None
            if digest is None or compute_digest(path, digest) != digest:
                raise StoreUnavailable(f"The Hub took the commit but does not hold {repo_path} as it was sent.")

    def _build_commit_url(self, name: HubRef, commit: str, repo_type: RepoType) -> str:
        prefix = "spaces/" if repo_type == "space" else ""
        return f"{self.api.endpoint}/{prefix}{name.repo}/commit/{commit}"

    @contextmanager
    def _translate_errors(self, name: HubRef) -> Iterator[None]:
        """Translate every error of the client into one sentence."""
        try:
            yield
        except (*CLIENT_ERRORS, *MALFORMED_RESPONSE_ERRORS) as error:
            raise translate_hub_error(error, name) from None


def get_siblings_by_path(info: Any) -> dict[str, RepoSibling]:
    """Return the files of a repository by path."""
    return {file.rfilename: file for file in info.siblings or []}


def format_missing_checkpoint(name: HubRef, files: Iterable[str]) -> str:
    """Return the message for a repository without config or weights."""
    pickles = [path for path in files if path.endswith(PICKLE_SUFFIXES)]
    if pickles:
        return (
            f"{name} holds pickles ({', '.join(pickles[:3])}), which are never opened here: "
            "download one that you trust and turn it into a checkpoint with python -m ctm.convert."
        )
    return f"{name} holds no checkpoint: config.json and model.safetensors are needed."


def check_download_size(label: str, size: int | None, max_bytes: int) -> None:
    """Raise `ValueError` if a download is too large."""
    if (size or 0) > max_bytes:
        raise ValueError(f"{label}: {size:,} bytes are more than the {max_bytes:,} that are read.")
