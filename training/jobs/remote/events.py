"""Events of a remote run, applied to its local run directory. The values come from another host, so they are checked."""

import contextlib
import json
import re
from dataclasses import asdict
from typing import Any

from ctm.io.json_files import write_json
from training.publishing.outbox import ENTRY_ADAPTER, ENTRY_FILENAME, get_entry_dir_name
from training.run_dir import RunDir
from training.run_paths import (
    METRICS_FILENAME,
    OUTBOX_DIRNAME,
    OUTCOME_FILENAME,
    SAMPLES_FILENAME,
    SPACE_OUTBOX_DIRNAME,
    STATUS_FILENAME,
)

# Files that an event may write, with the required fields and their types.
EVENT_FILE_SCHEMAS: dict[str, dict[str, type]] = {
    METRICS_FILENAME: {"step": int},
    SAMPLES_FILENAME: {"step": int, "evaluation": int, "samples": list},
    STATUS_FILENAME: {"phase": str, "step": int, "steps": int},
    OUTCOME_FILENAME: {"reason": str, "sentence": str},
}
OUTBOX_ENTRY_PATTERN = re.compile(
    rf"(?:{OUTBOX_DIRNAME}|{SPACE_OUTBOX_DIRNAME})/([0-9]{{15}}-[0-9a-f]{{12}})/{re.escape(ENTRY_FILENAME)}"
)
MAX_LINE_CHARS = 100_000


def apply_event(run_dir: RunDir, line: str) -> None:
    """Apply one event of a remote run to its local run directory. Invalid events are ignored.

    Args:
        run_dir: Local run directory.
        line: Relative file name, a space, and the values as JSON.
    """
    name, _, text = line[:MAX_LINE_CHARS].partition(" ")
    with contextlib.suppress(ValueError, RecursionError, OverflowError):  # invalid JSON or an invalid event
        values = parse_event(name, json.loads(text))
        path = run_dir.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == METRICS_FILENAME:
            run_dir.log_metrics(values)
        elif name == SAMPLES_FILENAME:
            run_dir.samples.append(values)
        else:
            write_json(path, values)


def parse_event(name: str, values: Any) -> dict[str, Any]:
    """Validate an event.

    Args:
        name: File name relative to the run directory.
        values: Parsed JSON content.

    Returns:
        The values to write.

    Raises:
        ValueError: A run directory has no such file, or the values have another form.
    """
    if match := OUTBOX_ENTRY_PATTERN.fullmatch(name):
        entry = ENTRY_ADAPTER.validate_python(values)
        if get_entry_dir_name(entry) == match[1]:
            return asdict(entry)
        raise ValueError(f"{name} holds another entry.")
    schema = EVENT_FILE_SCHEMAS.get(name, {})
    if schema and isinstance(values, dict) and all(type(values.get(key)) is kind for key, kind in schema.items()):
        return values
    raise ValueError(f"{name} is not a file of a run directory, or has another form.")
