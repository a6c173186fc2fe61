"""Checkpoints in a folder: every subfolder with a config is one."""

import datetime
import os
import shutil
import uuid
from pathlib import Path

from ctm.checkpoint import CONFIG
from ctm.stores.base import Commit, Description, Watch, is_whole, read_all, weight_names


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
        found = (path for path in self.root.glob(self.pattern) if (path / CONFIG).is_file())
        return sorted(name for path in found if not (name := self._name(path)).startswith("."))

    def describe(self, name: str) -> Description:
        folder = self.fetch(name)
        weights = [folder / part for part in weight_names(folder)]
        changed = max(path.stat().st_mtime for path in (*weights, folder / CONFIG) if path.is_file())
        return Description(
            name=name,
            revision=None,
            updated=datetime.date.fromtimestamp(changed).isoformat(),
            size=sum(path.stat().st_size for path in weights if path.is_file()),
            here=is_whole(folder),
            **read_all(folder),
        )

    def fetch(self, name: str, watch: Watch | None = None) -> Path:
        for path in self.root.glob(self.pattern):
            if self._name(path) == name and (path / CONFIG).is_file():
                return path
        known = ", ".join(self.names()) or "none"
        raise ValueError(f"There is no checkpoint called {str(name)[:60]!r} (any more); there are: {known}.")

    def publish(self, folder: Path, name: str, message: str, private: bool = False) -> Commit:
        """Copy a checkpoint folder here; a folder of that name is replaced at once, never seen half."""
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"A checkpoint's name is a plain folder name: got {name[:60]!r}.")
        if not is_whole(folder):
            raise ValueError(f"{folder} holds no whole checkpoint.")
        self.root.mkdir(parents=True, exist_ok=True)
        target, draft = self.root / name, self.root / f".{name}.{uuid.uuid4().hex[:8]}"
        old = draft.with_name(draft.name + ".old")
        try:
            shutil.copytree(folder, draft)
            if target.exists():
                os.rename(target, old)
            os.rename(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        return Commit("", target.as_uri())

    def _name(self, path: Path) -> str:
        """The part of the path that the pattern's first star stands for."""
        return path.relative_to(self.root).parts[0]
