"""Checkpoint store in a local directory: every subdirectory with a config is a checkpoint."""

import shutil
from pathlib import Path

from ctm.checkpoint import CONFIG_NAME
from ctm.io.atomic import get_temp_path, replace_dir
from ctm.stores.base import (
    CheckpointDescription,
    Commit,
    ProgressCallback,
    describe_checkpoint_dir,
    is_complete_checkpoint,
)


class LocalStore:
    """Directory of checkpoints.

    Args:
        root: Directory whose subdirectories are checkpoints; need not exist.
        pattern: Glob pattern of checkpoint directories below `root`, such as `*/checkpoint` for finished runs.
    """

    def __init__(self, root: str | Path, pattern: str = "*"):
        self.root = Path(root)
        self.pattern = pattern

    def list_names(self) -> list[str]:
        """Return the names of all checkpoints, sorted."""
        return sorted(self._find_checkpoints())

    def describe(self, name: str) -> CheckpointDescription:
        """Return the description of a checkpoint."""
        return describe_checkpoint_dir(self.fetch(name), name)

    def fetch(self, name: str, on_progress: ProgressCallback | None = None) -> Path:
        """Return the directory of a checkpoint.

        Raises:
            ValueError: There is no such checkpoint.
        """
        checkpoints = self._find_checkpoints()
        if name in checkpoints:
            return checkpoints[name]
        known = ", ".join(sorted(checkpoints)) or "none"
        raise ValueError(f"There is no checkpoint called {str(name)[:60]!r} (any more); there are: {known}.")

    def publish(self, folder: Path, name: str, message: str, private: bool = False) -> Commit:
        """Copy a checkpoint directory into the store; an existing one is replaced atomically.

        Raises:
            ValueError: The name is not a plain directory name, or the checkpoint is incomplete.
        """
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"A checkpoint's name is a plain folder name: got {name[:60]!r}.")
        if not is_complete_checkpoint(folder):
            raise ValueError(f"{folder} holds no whole checkpoint.")
        self.root.mkdir(parents=True, exist_ok=True)
        target = self.root / name
        temp_dir = get_temp_path(target)
        try:
            shutil.copytree(folder, temp_dir)
            replace_dir(temp_dir, target)
        finally:
            shutil.rmtree(temp_dir, ignore_errors=True)
        return Commit("", target.as_uri())

    def _find_checkpoints(self) -> dict[str, Path]:
        """Return checkpoint directories by name, without hidden ones."""
        by_name = {
            self._get_checkpoint_name(path): path
            for path in self.root.glob(self.pattern)
            if (path / CONFIG_NAME).is_file()
        }
        return {name: path for name, path in by_name.items() if not name.startswith(".")}

    def _get_checkpoint_name(self, path: Path) -> str:
        """Return the path component that the first `*` of the pattern matches; a leading dot hides a checkpoint."""
        return path.relative_to(self.root).parts[0]
