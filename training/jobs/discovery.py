"""Discovery of runs that exist on disk but not in the job store.

Such runs were started on the command line or copied from another host.
"""

from collections.abc import Container, Iterator
from pathlib import Path

from ctm.io.preallocated import read_preallocated
from ctm.stores.base import is_complete_checkpoint
from training.jobs.job import Job, JobState
from training.run_dir import list_run_dirs


def discover_untracked_runs(runs_dir: Path, known_ids: Container[str]) -> Iterator[Job]:
    """Yield a finished job for every run directory that is unknown and that no process trains in.

    Args:
        runs_dir: Parent of the run directories.
        known_ids: Ids of the jobs in the job store.

    Yields:
        A job whose state follows from the presence of a final checkpoint: `succeeded` or `interrupted`.
    """
    for run_dir in list_run_dirs(runs_dir):
        job_id = run_dir.path.name
        if job_id in known_ids or run_dir.is_locked:
            continue
        started_at = run_dir.config_file.stat().st_mtime
        status_time = read_preallocated(run_dir.status_file).get("time")
        is_complete = is_complete_checkpoint(run_dir.final_checkpoint_dir)
        state: JobState = "succeeded" if is_complete else "interrupted"
        result = "it has finished" if is_complete else "it ended before its last step"
        yield Job(
            job_id,
            state,
            submitted_at=started_at,
            queued_at=started_at,
            started_at=started_at,
            ended_at=float(status_time) if isinstance(status_time, int | float) else started_at,
            status_message=f"Found in the runs directory: {result}.",
        )
