"""Checkpoint store in a local directory: every subdirectory with a config is a checkpoint."""

from pathlib import Path

from ctm.checkpoint import CONFIG_NAME
from ctm.stores.base import CheckpointDescription, ProgressCallback, describe_checkpoint_dir


class LocalStore:
    """Directory of checkpoints.

    Args:
        root: Directory whose subdirectories are checkpoints; need not exist.
        pattern: Glob pattern of checkpoint directories below `root`, such as `*/checkpoint` for finished runs.
    """

    def __init__(self, root: str | Path, pattern: str = "*") -> None:
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
        if checkpoint_dir := self._find_checkpoint(name):
            return checkpoint_dir
        checkpoints = self._find_checkpoints()
        if name in checkpoints:
            return checkpoints[name]
        known = ", ".join(sorted(checkpoints)) or "none"
        raise ValueError(f"There is no checkpoint called {str(name)[:60]!r} (any more); there are: {known}.")

    def _find_checkpoint(self, name: str) -> Path | None:
        """Return the directory of a checkpoint without a search of all others; None if only a search can tell."""
        if self.pattern.split("/").count("*") != 1 or Path(name).parts != (name,) or name.startswith("."):
            return None
        checkpoint_dir = self.root / self.pattern.replace("*", name)
        try:
            is_checkpoint = (checkpoint_dir / CONFIG_NAME).is_file()
        except (OSError, ValueError):  # no possible name of a file
            return None
        return checkpoint_dir if is_checkpoint and self._get_checkpoint_name(checkpoint_dir) == name else None

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
