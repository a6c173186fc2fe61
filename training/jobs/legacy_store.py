"""Reader of `jobs.sqlite`, the job store of version 0.1.0.

Version 0.1.0 kept an SQLite database in memory and wrote it to the file as a whole. Its columns had the names of that
version, and a version adds the columns that an earlier one did not have, so a file may lack any of them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

LEGACY_STORE_FILENAME = "jobs.sqlite"

# Columns of 0.1.0 that have another name today. The other columns keep their names.
RENAMED_COLUMNS = {
    "intent": "requested_action",
    "place": "target",
    "by": "submitted_by",
    "submitted": "submitted_at",
    "queued": "queued_at",
    "started": "started_at",
    "ended": "ended_at",
    "asked": "stop_requested_at",
    "from_step": "resumed_from_step",
    "sentence": "status_message",
    "remote": "remote_job_id",
    "timeout": "timeout_minutes",
}
# Values of 0.1.0 that are spelled differently today, by current field name.
RENAMED_VALUES = {
    "target": {"here": "local"},
    "requested_action": {"leave": "suspend"},
}


def read_legacy_jobs(path: Path) -> list[dict[str, Any]]:
    """Read the jobs of a job store of version 0.1.0. The file itself is only read.

    Args:
        path: The file `jobs.sqlite`.

    Returns:
        Fields of `Job` by their current names, one dictionary per job; fields without a stored value are absent.

    Raises:
        ValueError: The file is damaged.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    try:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            database.deserialize(content)
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise ValueError(f"{path.name} is damaged.")
            database.row_factory = sqlite3.Row
            has_table = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone()
            rows = database.execute("SELECT * FROM jobs").fetchall() if has_table else []
            return [rename_columns(dict(row)) for row in rows]
    except sqlite3.Error:
        raise ValueError(f"{path.name} is damaged.") from None


def rename_columns(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of one job under their current names and with current values, without empty columns.

    Args:
        columns: Values by column name of version 0.1.0.
    """
    values = {RENAMED_COLUMNS.get(name, name): value for name, value in columns.items() if value is not None}
    for name, renamed in RENAMED_VALUES.items():
        if name in values:
            values[name] = renamed.get(values[name], values[name])
    return values
