"""Checkpoints in a folder: every subfolder with a config is one."""

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
    """A folder of checkpoints.

    Args:
        root: folder whose subfolders are checkpoints; it need not exist.
        pattern: where below it a checkpoint's folder is, e.g. `*/checkpoint` for finished runs.
    """

    def __init__(self, root: str | Path, pattern: str = "*"):
        self.root = Path(root)
        self.pattern = pattern

    def names(self) -> list[str]:
        return sorted(self._find_checkpoints())

    def describe(self, name: str) -> CheckpointDescription:
        return describe_checkpoint_dir(self.fetch(name), name)

    def fetch(self, name: str, on_progress: ProgressCallback | None = None) -> Path:
        found = self._find_checkpoints()
        if name in found:
            return found[name]
        known = ", ".join(sorted(found)) or "none"
        raise ValueError(f"There is no checkpoint called {str(name)[:60]!r} (any more); there are: {known}.")

    def publish(self, folder: Path, name: str, message: str, private: bool = False) -> Commit:
        """Copy a checkpoint folder here; a folder of that name is replaced at once, never seen half."""
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"A checkpoint's name is a plain folder name: got {name[:60]!r}.")
        if not is_complete_checkpoint(folder):
            raise ValueError(f"{folder} holds no whole checkpoint.")
        self.root.mkdir(parents=True, exist_ok=True)
        target = self.root / name
        draft = get_temp_path(target)
        try:
            shutil.copytree(folder, draft)
            replace_dir(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return Commit("", target.as_uri())

    def _find_checkpoints(self) -> dict[str, Path]:
        """Checkpoints by name; folders that are hidden hold none for anybody."""
        named = {
            self._get_checkpoint_name(path): path
            for path in self.root.glob(self.pattern)
            if (path / CONFIG_NAME).is_file()
        }
        return {name: path for name, path in named.items() if not name.startswith(".")}

    def _get_checkpoint_name(self, path: Path) -> str:
        """The part of the path that the pattern's first star stands for; what begins with a dot is hidden."""
        return path.relative_to(self.root).parts[0]
