"""Metadata of a model card: the front matter that the Hub reads, with the evaluations as a model index."""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from training.settings_aliases import rename_task_settings

LICENSE = "mit"
LIBRARY_NAME = "ctm"
TAGS = ("continuous-thought-machine", "adaptive-computation")
# Pipeline tags of the Hub by task.
PIPELINE_TAGS = {
    "digits": "image-classification",
    "images": "image-classification",
}


def render_front_matter(title: str, task: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Render the front matter: license, tags, data set, and the evaluations as a model index.

    Args:
        title: Heading of the card.
        task: Content of `task.json`.
        metrics: Content of `metrics.json`.
    """
    dataset = find_dataset(task)
    eval_results = [
        result
        for evaluation in metrics["evaluations"]
        for result in build_eval_results(task["task"], dataset, evaluation)
    ]
    data = ModelCardData(
        license=LICENSE,
        library_name=LIBRARY_NAME,
        pipeline_tag=PIPELINE_TAGS.get(task["task"]),
        datasets=[dataset] if dataset else None,
        tags=[*TAGS, task["task"]],
        model_name=title if eval_results else None,
        eval_results=eval_results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def find_dataset(task: dict[str, Any]) -> str | None:
    """Return the data set of the Hub that a task reads, `namespace/name`; None for another task.

    Args:
        task: Content of `task.json`.
    """
    return rename_task_settings(task.get("task", ""), task.get("settings", {})).get("dataset")


def build_eval_results(task: str, dataset: str | None, evaluation: dict[str, Any]) -> list[EvalResult]:
    """Build the model index of one evaluation: halted accuracy, accuracy at the best fixed tick, and mean ticks.

    Args:
        task: Name of the task.
        dataset: Data set of the Hub; None for a generated task, which is its own data set.
        evaluation: One entry of `evaluations` in `metrics.json`.
    """
    values = (
        ("accuracy", "accuracy when halted", evaluation["accuracy_halted"]),
        ("accuracy", "accuracy at the best fixed tick", evaluation["accuracy_best"]),
        ("mean_ticks", f"mean ticks used of {evaluation['iterations']}", evaluation["mean_ticks"]),
    )
    return [
        EvalResult(
            task_type=PIPELINE_TAGS.get(task, "other"),
            task_name=task,
            dataset_type=dataset or task,
            dataset_name=dataset or task,
            dataset_split=evaluation["split"],
            metric_type=metric_type,
            metric_name=metric_name,
            metric_value=round(value, 4),
        )
        for metric_type, metric_name, value in values
    ]
