"""Tests of the final state of a job, which follows from its exit code, its outcome and the requested action."""

import pytest

from training.jobs.outcome import derive_job_outcome

FINISHED_OUTCOME = {"reason": "finished", "sentence": "All 12 steps are done."}
TIME_LIMIT_OUTCOME = {"reason": "time", "sentence": "Its time was over (train.minutes): saved at step 8 of 12."}
STOPPED_OUTCOME = {"reason": "stopped", "sentence": "Stopped and saved at step 8 of 12."}


def make_failure(reason: str) -> dict:
    return {"reason": reason, "sentence": "Lower optim.lr."}


@pytest.mark.parametrize(
    "exit_code, outcome, action, state, expected_text",
    [
        (0, FINISHED_OUTCOME, "", "succeeded", "All 12"),
        (0, FINISHED_OUTCOME, "stop", "succeeded", "All 12"),
        (None, FINISHED_OUTCOME, "", "succeeded", "All 12"),
        (1, FINISHED_OUTCOME, "", "failed", "code 1"),
        (0, STOPPED_OUTCOME, "stop", "cancelled", "saved at step 8"),
        (1, STOPPED_OUTCOME, "stop", "cancelled", "saved at step 8"),
        (0, STOPPED_OUTCOME, "", "interrupted", "from outside"),
        (0, STOPPED_OUTCOME, "suspend", "interrupted", "The app ended. Stopped"),
        (-9, {}, "kill", "cancelled", "Killed."),
        (-9, {}, "stop", "cancelled", "did not stop in time"),
        (1, make_failure("nan"), "", "failed", "Lower"),
        (1, make_failure("memory"), "suspend", "failed", "Lower"),
        (1, make_failure("disk"), "", "failed", "Lower"),
        (1, make_failure("refused"), "stop", "failed", "Lower"),
        (None, {}, "", "interrupted", "restarted"),
        (-15, {}, "suspend", "interrupted", "before it had begun"),
        (-15, {}, "stop", "cancelled", "before it had begun"),
        (0, TIME_LIMIT_OUTCOME, "", "cancelled", "time was over"),
        (-9, {}, "", "failed", "for want of memory"),
        (-11, {}, "", "failed", "signal 11"),
        (3, {}, "", "failed", "code 3"),
        (0, {}, "", "failed", "without saying"),
        (0, {"reason": "unknown"}, "", "failed", "without saying"),
        (None, {"reason": ["odd"]}, "", "interrupted", "restarted"),
    ],
)
def test_exit_code_outcome_and_action_determine_state_and_message(exit_code, outcome, action, state, expected_text):
    actual_state, message = derive_job_outcome(exit_code, outcome, action, 6)
    assert actual_state == state and expected_text in message and message.endswith(".")


def test_message_has_the_last_saved_step_or_the_memory_limit():
    assert "The last saved step is 1,200." in derive_job_outcome(1, {}, "", 1200)[1]
    assert "No step had been saved." in derive_job_outcome(1, {}, "", None)[1]
    assert "ran out of memory" in derive_job_outcome(-9, {}, "", 5, out_of_memory=True)[1]
