"""History of a run: the settings that changed when it was resumed, one JSON object per line, only appended."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm.io.json_files import read_json_lines
from training.setting_changes import SettingChange

KEYS = {"time", "step", "setting", "old", "new"}


@dataclass(frozen=True)
class RunHistory:
    """The file `history.jsonl` of a run.

    A line holds `time` (seconds since the epoch), `step` (the saved step from which the new value counts), `setting` (dotted
    name), `old` and `new`.

    Attributes:
        path: The file; it need not exist.
    """

    path: Path

    def append(self, step: int, changes: Iterable[SettingChange]) -> None:
        """Append changes, except those that an attempt to resume has recorded before it failed.

        Args:
            step: The saved step from which the new values count.
            changes: The changes.
        """
        recorded = {line["setting"]: {**line, "time": None} for line in self.read()}
        lines = []
        for change in changes:
            values = {"time": None, "step": step, "setting": change.name, "old": change.old, "new": change.new}
            values = json.loads(json.dumps(values))  # tuples become lists, as in the file
            if recorded.get(change.name) != values:
                lines.append(values | {"time": time.time()})
        if not lines:
            return
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        with self.path.open("a+b") as file:
            if file.tell() and not self.path.read_bytes().endswith(b"\n"):  # an append was interrupted
                text = f"\n{text}"
            file.write(text.encode())

    def read(self) -> list[dict[str, Any]]:
        """Return the changes, oldest first; lines that are incomplete or have other keys are skipped."""
        return [line for line in read_json_lines(self.path) if line.keys() == KEYS and is_valid(line)]


def is_valid(values: dict[str, Any]) -> bool:
    """Return whether the values of a line that a program relies on have the right types."""
    return type(values["step"]) is int and isinstance(values["setting"], str)
