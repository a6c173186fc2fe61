"""Metrics of a run: one JSON object per line, appended while the run trains."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm.io.atomic import write_text
from ctm.io.json_files import read_json_lines
from training.event_stream import emit_event

VALIDATION_PREFIX = "validation_"


@dataclass(frozen=True)
class MetricsLog:
    """The file `metrics.jsonl` of a run.

    Attributes:
        path: The file; it need not exist yet.
    """

    path: Path

    def append(self, values: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        emit_event(self.path.name, values)

    def read(self) -> list[dict[str, Any]]:
        """Return the lines, oldest first; lines that are incomplete or have no step are skipped."""
        return [line for line in read_json_lines(self.path) if type(line.get("step")) is int]

    def read_latest_validation(self) -> dict[str, float]:
        """Return the latest validation metrics; {} before the first evaluation."""
        for values in reversed(self.read()):
            if validation := {name: value for name, value in values.items() if name.startswith(VALIDATION_PREFIX)}:
                return validation
        return {}

    def count_evaluations(self) -> int:
        """Return the number of evaluations."""
        return sum(any(name.startswith(VALIDATION_PREFIX) for name in values) for values in self.read())

    def truncate(self, step: int) -> None:
        """Delete lines after `step`, which a resumed run writes again, and incomplete lines."""
        lines = [values for values in self.read() if values["step"] <= step]
        if self.path.is_file():
            write_text(self.path, "".join(f"{json.dumps(values)}\n" for values in lines))
