"""Derive the final state of a job.

Inputs are the exit code, the outcome that the trainer recorded and the action that was requested. A job only counts as
succeeded if the trainer recorded `finished` and the exit code is 0 or unknown.
"""

import signal
from typing import Any

from training.failures import format_memory_remedy
from training.jobs.job import JobState, RequestedAction

FAILURE_REASONS = {"refused", "nan", "memory", "disk", "data", "crash"}


def derive_job_outcome(
    exit_code: int | None,
    outcome: dict[str, Any],
    action: RequestedAction,
    last_step: int | None,
    out_of_memory: bool = False,
) -> tuple[JobState, str]:
    """Return the final state of a job without processes, and one sentence that explains it.

    Args:
        exit_code: Exit code of the training program; negative for a signal, None if unknown.
        outcome: Outcome that the trainer recorded (see `training.failures`); empty if there is none.
        action: Action that was requested.
        last_step: Newest saved step; None if no step was saved.
        out_of_memory: Whether the kernel killed processes of this container for lack of memory while the job ran.
    """
    reason, message = str(outcome.get("reason")), str(outcome.get("sentence", ""))
    progress = f"The last saved step is {last_step:,}." if last_step is not None else "No step had been saved."
    if reason == "finished" and exit_code in (0, None):
        return "succeeded", message
    if reason == "time":
        return "cancelled", message
    if action == "kill":
        return "cancelled", f"Killed. {progress}"
    if reason == "stopped":
        if action == "stop":
            return "cancelled", message
        cause = "The app ended." if action == "suspend" else "It was stopped from outside this app."
        return "interrupted", f"{cause} {message}"
    if reason in FAILURE_REASONS:
        return "failed", message
    return derive_unrecorded_outcome(exit_code, action, progress, out_of_memory)


def derive_unrecorded_outcome(
    exit_code: int | None, action: RequestedAction, progress: str, out_of_memory: bool
) -> tuple[JobState, str]:
    """Return the final state of a job whose trainer recorded no reason, and one sentence that explains it.

    Args:
        exit_code: Exit code of the training program; negative for a signal, None if unknown.
        action: Action that was requested.
        progress: Sentence about the saved steps.
        out_of_memory: Whether the kernel killed processes of this container for lack of memory while the job ran.
    """
    if exit_code == -signal.SIGTERM and action in ("stop", "suspend"):
        return "cancelled" if action == "stop" else "interrupted", f"Stopped before it had begun. {progress}"
    if action == "stop":
        return "cancelled", f"It did not stop in time and was killed. {progress}"
    if exit_code is None or action == "suspend":
        return "interrupted", f"The app or the machine was restarted while it ran. {progress}"
    if exit_code == -signal.SIGKILL:
        cause = (
            "ran out of memory and killed it"
            if out_of_memory
            else "killed it (signal 9), most likely for want of memory"
        )
        return (
            "failed",
            f"The machine {cause}. {progress} {format_memory_remedy()}",
        )
    if exit_code == 0:
        return "failed", f"It ended without saying that it had finished. {progress} The log may say more."
    cause = f"signal {-exit_code}" if exit_code < 0 else f"code {exit_code}"
    return "failed", f"The training program ended with {cause}. {progress} The log says more."
