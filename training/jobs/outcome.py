"""What became of a job: from the exit code, what the training said of its end, and what was wanted of it. Never from hope."""

from typing import Any

from training.jobs.store import JobState, RequestedAction

FAILURE_REASONS = {"refused", "nan", "memory", "disk", "data", "crash"}


def derive_job_outcome(
    exit_code: int | None,
    outcome: dict[str, Any],
    intent: RequestedAction,
    last_step: int | None,
    out_of_memory: bool = False,
) -> tuple[JobState, str]:
    """State and sentence of a job that has no process any more.

    Args:
        exit_code: of the training; negative for a signal; None if nobody was there to ask for it.
        ending: what the training wrote of its end (`training.failures`); {} if it could not.
        intent: what somebody wanted of it.
        last_step: newest step that was saved.
        out_of_memory: the system killed processes for want of memory meanwhile.
    """
    reason, sentence = str(outcome.get("reason")), str(outcome.get("sentence", ""))
    kept = f"The last saved step is {last_step:,}." if last_step is not None else "No step had been saved."
    if reason == "finished" and exit_code in (0, None):
        return "succeeded", sentence
    if reason == "time":
        return "cancelled", sentence
    if intent == "kill":
        return "cancelled", f"Killed. {kept}"
    if reason == "stopped":
        if intent == "stop":
            return "cancelled", sentence
        why = "The app ended." if intent == "leave" else "It was told to stop from outside this app."
        return "interrupted", f"{why} {sentence}"
    if reason in FAILURE_REASONS:
        return "failed", sentence
    if exit_code == -15 and intent in ("stop", "leave"):
        return "cancelled" if intent == "stop" else "interrupted", f"Stopped before it had begun. {kept}"
    if intent == "stop":
        return "cancelled", f"It did not stop in time and was killed. {kept}"
    if exit_code is None or intent == "leave":
        return "interrupted", f"The app or the machine was restarted while it ran. {kept}"
    if exit_code == -9:
        why = (
            "ran out of memory and killed it"
            if out_of_memory
            else "killed it (signal 9), most likely for want of memory"
        )
        return (
            "failed",
            f"The machine {why}. {kept} Halve train.batch_size and double train.accumulate, then start again.",
        )
    if exit_code == 0:
        return "failed", f"It ended without saying that it had finished. {kept} The log may tell more."
    how = f"signal {-exit_code}" if exit_code < 0 else f"code {exit_code}"
    return "failed", f"The training program ended with {how}. {kept} The log tells more."
