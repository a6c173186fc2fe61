"""A job: a run as the scheduler sees it, with its states and transitions."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import FiniteFloat, TypeAdapter, ValidationError

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
# Action requested for a running job. "suspend": the app ends, and a later app may resume the job.
RequestedAction = Literal["", "stop", "kill", "suspend"]
ALLOWED_TRANSITIONS: dict[JobState, set[JobState]] = {
    "queued": {"running", "cancelled"},
    "running": {"succeeded", "failed", "cancelled", "interrupted"},
    "succeeded": set(),
    "failed": {"queued"},
    "cancelled": {"queued"},
    "interrupted": {"queued"},
}
LOCAL_TARGET = "local"


@dataclass(frozen=True)
class Job:
    """A run as the scheduler sees it. All times are seconds since the epoch.

    Attributes:
        id: Name of the run directory.
        state: State of the job; `ALLOWED_TRANSITIONS` lists the possible next states.
        requested_action: Action that was requested of the running job.
        target: `LOCAL_TARGET`, or the hardware of Hugging Face Jobs.
        devices: Number of training processes, one per device.
        submitted_by: User who submitted the job.
        submitted_at: Time of submission.
        queued_at: Time that determines the position in the queue.
        started_at: Start of the last attempt.
        ended_at: End of the last attempt.
        stop_requested_at: Time at which a stop was requested.
        attempt: Number of starts.
        resumed_from_step: Step at which the last attempt began.
        pid: Process id of the leader of the process group; 0 if there is none.
        exit_code: Exit code of the training program; None if unknown.
        status_message: Why the job is in this state, in one sentence.
        namespace: Account that pays on Hugging Face Jobs.
        remote_job_id: Id of the remote job.
        url: Page of the remote job.
        timeout_minutes: Time limit of the remote job.
    """

    id: str
    state: JobState
    requested_action: RequestedAction = ""
    target: str = LOCAL_TARGET
    devices: int = 1
    submitted_by: str = ""
    submitted_at: FiniteFloat = 0.0
    queued_at: FiniteFloat = 0.0
    started_at: FiniteFloat = 0.0
    ended_at: FiniteFloat = 0.0
    stop_requested_at: FiniteFloat = 0.0
    attempt: int = 0
    resumed_from_step: int = 0
    pid: int = 0
    exit_code: int | None = None
    status_message: str = ""
    namespace: str = ""
    remote_job_id: str = ""
    url: str = ""
    timeout_minutes: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether the job is neither queued nor running."""
        return self.state not in ("queued", "running")

    @property
    def is_local(self) -> bool:
        """Whether the job runs on this host."""
        return self.target == LOCAL_TARGET


JOB_ADAPTER = TypeAdapter(Job)


def parse_jobs(records: Any) -> tuple[dict[str, Job], int]:
    """Parse the records of a job store.

    Args:
        records: List of dictionaries with the fields of `Job`; unknown fields are ignored.

    Returns:
        The valid jobs by id, and the number of invalid records.

    Raises:
        ValueError: The records are not a list.
    """
    if not isinstance(records, list):
        raise ValueError("The job store holds no list of jobs.")
    jobs: dict[str, Job] = {}
    num_invalid = 0
    for record in records:
        try:
            job = JOB_ADAPTER.validate_python(record)
        except ValidationError:
            num_invalid += 1
        else:
            jobs[job.id] = job
    return jobs, num_invalid
