"""Recovery of jobs after the end of an app: which of them live, and which of them are resumed."""

from contextlib import suppress
from pathlib import Path

from training.jobs.discovery import discover_untracked_runs
from training.jobs.job import Job
from training.jobs.launcher import JobLauncher
from training.jobs.store import JobStore
from training.run_dir import RunDir

# A job without progress is given up after this number of starts: it may crash the app at every attempt.
MAX_ATTEMPTS_WITHOUT_PROGRESS = 3


def record_lost_process_ids(store: JobStore, launcher: JobLauncher) -> None:
    """Record the process ids of running local jobs that have none.

    The previous app may have died between the start of the process and the update of the job store.
    """
    for job in store.list_running():
        if job.is_local and not job.pid and (group := launcher.find_process_group(job)):
            with suppress(ValueError):  # the job store cannot be written
                store.update(job.id, pid=group.pid)


def register_untracked_runs(store: JobStore, runs_dir: Path) -> None:
    """Add jobs for runs that were started on the command line or copied from another host.

    Raises:
        ValueError: The job store cannot be written.
    """
    for job in discover_untracked_runs(runs_dir, {job.id for job in store.list_jobs()}):
        store.add(job)


def list_resumable_jobs(store: JobStore, runs_dir: Path) -> list[Job]:
    """Return the interrupted local jobs that the scheduler may start again by itself, newest first."""
    return [job for job in store.list_jobs() if is_resumable(job, RunDir(runs_dir / job.id))]


def is_resumable(job: Job, run_dir: RunDir) -> bool:
    """Return whether an interrupted job may be started again without a request."""
    if job.state != "interrupted" or not job.is_local or not job.attempt:
        return False
    steps = run_dir.list_steps()
    has_progress = bool(steps) and steps[-1] > job.resumed_from_step
    return has_progress or job.attempt < MAX_ATTEMPTS_WITHOUT_PROGRESS


def check_can_resume(job: Job, run_dir: RunDir) -> None:
    """Check that a job can be queued again.

    Raises:
        ValueError: The job has finished, ran remotely, or its run directory is gone.
    """
    if job.state == "succeeded":
        raise ValueError(f"The run {job.id} has finished; begin a new one with its settings instead.")
    if not job.is_local:
        raise ValueError(
            f"The run {job.id} was on a machine that is gone. Begin a new one; init_from takes the weights that it published."
        )
    if not run_dir.config_file.is_file():
        raise ValueError(
            f"The run directory of {job.id} is gone. If it was published, begin a new run from its repository: settings and weights "
            "are there; the optimizer state and the step count start again."
        )


def format_resume_message(run_dir: RunDir) -> str:
    """Return one or two sentences about the step from which a resumed run continues."""
    steps = run_dir.list_steps()
    if not steps:
        return "Starts from the beginning: no step had been saved."
    message = f"Goes on from step {steps[-1]:,}."
    latest_step = run_dir.read_status().get("step", 0)
    if steps[-1] < latest_step:
        message += f" Step {latest_step:,} had been reached; the steps after the saved one are repeated."
    return message
