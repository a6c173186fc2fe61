"""How a run goes, in sentences: its state, what it has learned, what the published run of its recipe reached, and the time left."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ctm.io.json_files import read_json
from inference.halting.evidence import format_accuracy, format_mean
from training.config import RunConfig
from training.jobs.job import JobState
from training.progress_summary import PublishedResult, describe_progress
from training.tasks.base import Task
from training.tasks.registry import get_task_types
from training.train_command import split_train_command

COMPARABLE_GROUPS = (
    "train",
    "optim",
    "publish",
    "finalize",
    "init_from",
)  # overrides after which a result still compares


class PublishedResults:
    """Results of the recipes of the bundled checkpoints, which are read once.

    Args:
        bundled_dir: Directory of the bundled checkpoints; None for no results.
    """

    def __init__(self, bundled_dir: Path | None) -> None:
        self.bundled_dir = bundled_dir

    def find(self, command: str) -> PublishedResult | None:
        """Return the result of the recipe that a command trains.

        Args:
            command: Command of a run.

        Returns:
            The result; None if none is published, or if the command changes the task, the model or the loss.
        """
        recipe, overrides = split_train_command(command)
        if any(word.partition("=")[0].partition(".")[0] not in COMPARABLE_GROUPS for word in overrides):
            return None
        return self._results.get(recipe)

    @cached_property
    def _results(self) -> dict[str, PublishedResult]:
        results = {}
        for path in sorted(self.bundled_dir.glob("*/metrics.json")) if self.bundled_dir else ():
            try:
                metrics = read_json(path)
                training, evaluation = metrics["training"], metrics["evaluations"][0]
                recipe, _ = split_train_command(training["command"])
                curve = tuple((int(step), float(accuracy)) for step, accuracy in training.get("curve", ()))
                result = PublishedResult(float(evaluation["accuracy_halted"]), int(training["steps"]), curve)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError):  # a damaged checkpoint has no result
                continue
            if recipe:
                results[recipe] = result
        return results


def describe_run(
    state: JobState,
    status: Mapping[str, Any],
    config: RunConfig | None,
    lines: Sequence[Mapping[str, Any]],
    evaluations: Iterable[Mapping[str, Any]],
    published: PublishedResult | None,
) -> str:
    """Return how a run goes in a few sentences.

    Args:
        state: State of its job.
        status: Phase, step and steps.
        config: Its settings; None if they cannot be read.
        lines: Lines of its metrics.jsonl.
        evaluations: The entry `evaluations` of its final checkpoint; empty without one.
        published: Result of its recipe.
    """
    if state == "queued":
        return "It waits for its turn."
    if state == "succeeded" and (result := describe_result(evaluations)):
        return f"Finished: {result}."
    kind = config.task["kind"] if config else ""
    noun = get_task_types().get(kind, Task).position_noun
    learning = describe_progress(lines, noun, config.train.eval_samples if config else 1, published)
    if state == "running":
        is_finishing = status["phase"] in ("finishing", "finished")
        return f"All steps are done; the result is being measured. {learning}" if is_finishing else learning
    words = {"succeeded": "Finished", "failed": "Failed", "cancelled": "Stopped", "interrupted": "Interrupted"}
    progress = f" at step {status['step']:,} of {status['steps']:,}" if status["steps"] else " before the first step"
    return f"{words[state]}{progress}. {learning}"


def describe_result(evaluations: Iterable[Mapping[str, Any]]) -> str:
    """Return the accuracy of a final checkpoint on its first split, without a period; empty without a valid evaluation."""
    for evaluation in evaluations:
        try:
            ticks = int(evaluation["iterations"])
            mean = f", in {format_mean(evaluation['mean_ticks'])} of {ticks} ticks on average" if ticks > 1 else ""
            return f"{format_accuracy(evaluation['accuracy_halted'])} of {evaluation['n']:,} {evaluation['split']} samples right{mean}"
        except (KeyError, TypeError, ValueError):
            return ""
    return ""


def estimate_seconds_left(status: Mapping[str, Any]) -> float | None:
    """Return the seconds until a running training is finished, its last measurements included; None if unknown.

    Args:
        status: step, steps, steps_per_second and seconds_to_finalize.
    """
    if not status["steps_per_second"]:
        return None
    if status["phase"] != "training":
        return None
    return (status["steps"] - status["step"]) / status["steps_per_second"] + status["seconds_to_finalize"]
