"""Model card of a checkpoint, rendered from its metadata alone: every figure of the card was measured."""

import json
import math
from pathlib import Path
from typing import Any

from ctm.checkpoint import METADATA_NAMES, count_weights
from ctm.checkpoint.metadata import PolicyRecord
from ctm.config import get_backbone_type, infer_model_type, read_published_config
from ctm.io.json_files import read_json
from inference.halting.evidence import describe_evidence
from training.accuracy_plot import ACCURACY_PLOT_FILE
from training.former_recipes import find_former_recipe
from training.model_card_data import render_front_matter
from training.setting_changes import format_value
from training.stages import describe_stages
from training.tasks import build_task
from training.tasks.registry import get_task_types
from training.training_cost import format_flops, format_processor_time

MODEL_TYPE_NAMES = {"ctm": "CTM", "lstm": "LSTM baseline", "ff": "Feed-forward baseline"}
DEFAULT_POLICY = "certainty>0.9"
LOCAL_PATH = "path/to/this/directory"
TRAINING_KEYS = {"command", "steps", "seed", "minutes", "hardware"}
Z_95 = 1.959964  # quantile of the normal distribution for a two-sided 95 % interval

CREDITS = """\
## Credits

The Continuous Thought Machine is by Luke Darlow, Ciaran Regan, Sebastian Risi, Jeffrey Seely and Llion Jones
([paper](https://arxiv.org/abs/2505.05522), [code](https://github.com/SakanaAI/continuous-thought-machines), Sakana AI).
Energy as a reason to halt was proposed in the energy-halting fork
([udapy](https://github.com/udapy/continuous-thought-machines)).

```bibtex
@article{darlow2025ctm,
  title   = {Continuous Thought Machines},
  author  = {Darlow, Luke and Regan, Ciaran and Risi, Sebastian and Seely, Jeffrey and Jones, Llion},
  journal = {arXiv preprint arXiv:2505.05522},
  year    = {2025}
}
```
"""


def render_checkpoint_card(checkpoint_dir: Path, repo: str = "", metrics: dict[str, Any] | None = None) -> str:
    """Render the model card of a saved checkpoint from its files.

    Args:
        checkpoint_dir: Checkpoint directory.
        repo: namespace/name of the repository that the checkpoint is published in.
        metrics: Replaces `metrics.json`, which a checkpoint without evaluations does not have.

    Raises:
        ValueError: A file is missing or invalid.
    """
    metadata = {name: read_json(checkpoint_dir / f"{name}.json", default={}) for name in METADATA_NAMES}
    metadata["metrics"] = metrics or metadata["metrics"]
    config = read_published_config(read_json(checkpoint_dir / "config.json"), "config.json").to_dict()
    title = build_title(config, build_task(metadata["task"]).title)
    return render_model_card(title, config, **metadata, num_parameters=count_weights(checkpoint_dir), repo=repo)


def has_card_metadata(metrics: dict[str, Any]) -> bool:
    """Return whether `metrics.json` states what the card of a trained model needs: evaluations, and how it was trained."""
    training = metrics.get("training", {})
    return bool(metrics.get("evaluations") and metrics.get("date")) and training.keys() >= TRAINING_KEYS


def render_model_card(
    title: str,
    config: dict[str, Any],
    task: dict[str, Any],
    halting: dict[str, Any],
    metrics: dict[str, Any],
    num_parameters: int,
    repo: str = "",
) -> str:
    """Render the model card as Markdown with the front matter of the Hub.

    Args:
        title: Heading of the card.
        config: Content of `config.json`.
        task: Content of `task.json`.
        halting: Content of `halting.json`.
        metrics: Content of `metrics.json`. Without evaluations the card describes a run that is still training.
        num_parameters: Number of parameters of the model.
        repo: namespace/name of the repository. With it the usage section loads from the Hub, and the card shows the
            accuracy plot.
    """
    parts = [
        render_front_matter(title, task, metrics),
        f"# {title}\n",
        f"{describe_model(config, num_parameters)} on the task *{task['task']}*, with the backbone `{get_backbone_type(config)}`.\n",
        render_usage_section(repo, task, halting),
        render_training_section(metrics),
        render_evaluation_section(metrics, task.get("judged")),
        f"![accuracy by tick]({ACCURACY_PLOT_FILE})\n" if repo and metrics["evaluations"] else "",
        render_difficulty_section(metrics),
        render_halting_section(halting),
        render_limitations_section(task, metrics),
        CREDITS,
    ]
    return "\n".join(part for part in parts if part)


def build_title(config: dict[str, Any], task: str) -> str:
    """Return the title of a checkpoint: kind of model, and task."""
    return f"{MODEL_TYPE_NAMES[infer_model_type(config)]}, {task.lower()}"


def describe_model(config: dict[str, Any], num_parameters: int) -> str:
    """Describe the kind, the size and the tick budget of a model, as the beginning of a sentence."""
    width, ticks = config["d_model"], config.get("iterations", 1)
    match infer_model_type(config):
        case "lstm":
            layers = f"{config['num_layers']} layer{'s' if config['num_layers'] > 1 else ''} of {width} units"
            return f"An LSTM baseline of {num_parameters:,} parameters: {layers}, unrolled for up to {ticks} ticks"
        case "ff":
            return f"A feed-forward baseline of {num_parameters:,} parameters: one hidden layer of {width} units, evaluated once"
    return (
        f"A Continuous Thought Machine of {num_parameters:,} parameters: {width} neurons with a memory of "
        f"{config['memory_length']} ticks each, unrolled for up to {ticks} ticks"
    )


def render_usage_section(repo: str, task: dict[str, Any], halting: dict[str, Any]) -> str:
    """Render the code that loads and runs the checkpoint.

    Args:
        repo: namespace/name of the repository; empty for a local checkpoint.
        task: Content of `task.json`.
        halting: Content of `halting.json`.
    """
    policy = halting.get("policies", {}).get(halting.get("default"), {}).get("policy", DEFAULT_POLICY)
    example = get_usage_example(task)
    return (
        "## Usage\n\n"
        "The package `ctm` is that of the project that trained the model; run the code in the root of its repository.\n\n"
        "```python\n"
        "import ctm\n\n"
        f'pipeline = ctm.pipeline("{repo or LOCAL_PATH}")\n'
        f'print(pipeline({example})["sentence"])\n'
        f'for tick in pipeline.stream({example}, policy="{policy}"):\n'
        '    print(tick["tick"], tick["label"], tick["certainty"])\n```\n\n'
        "A list of inputs is a batch and gives a list of results. Images are paths, bytes, PIL images or NumPy arrays. "
        f'`ctm.load_pretrained("{repo or LOCAL_PATH}").model` is the PyTorch module.\n'
    )


def get_usage_example(task: dict[str, Any]) -> str:
    """Return an example input as Python code: a text, or the path of an image."""
    kind = task.get("task", "")
    if get_task_types().get(kind) is None or get_task_types()[kind].input_type == "image":
        return '"picture.png"'
    text = str(next(iter(build_task(task).get_examples()), ""))
    return json.dumps(text, ensure_ascii=False)


def render_training_section(metrics: dict[str, Any]) -> str:
    """Render how the model was trained.

    Args:
        metrics: Content of `metrics.json`.
    """
    train = metrics["training"]
    if not metrics["evaluations"]:
        validation = metrics.get("validation", {})
        figures = ", ".join(f"{name.removeprefix('validation_')} {value}" for name, value in validation.items())
        return (
            f"## Still training\n\nThis is step {train['steps']:,} of a run that is still training, started with `{train['command']}`. "
            f"It has not been evaluated on held-out samples{'; on validation samples: ' + figures if figures else ''}.\n"
            f"{render_stages(train)}{render_setting_changes(train)}"
        )
    start = f", starting from the weights of `{train['init_from']}`" if train.get("init_from") else ""
    former = find_former_recipe(train["command"])
    return (
        f"## Training\n\n```bash\n{train['command']}\n```\n\n"
        + (f"{former.describe()}\n\n" if former else "")
        + f"{train['steps']:,} steps with seed {train['seed']}{start}, on {train['hardware']}. "
        f"Processor time: {format_processor_time(train.get('processor_seconds'))}. "
        f"Floating-point operations: {format_flops(train.get('flops'))}.\n"
        f"{render_stages(train)}{render_setting_changes(train)}"
    )


def render_stages(training: dict[str, Any]) -> str:
    """Render the stages of a run; "" for a run of one stage.

    Args:
        training: The entry `training` of `metrics.json`.
    """
    rows = [
        f"| {number} | {steps:,} | {', '.join(f'`{word}`' for word in words) or '-'} |"
        for number, (steps, words) in enumerate(describe_stages(training.get("settings", {})), 1)
    ]
    if not rows:
        return ""
    return (
        "\nThe run has several stages, each of which begins with the weights of the one before:\n\n"
        "| stage | steps | settings that differ from those of the recipe |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def render_setting_changes(training: dict[str, Any]) -> str:
    """Render the settings that changed when the run was resumed; "" if none did.

    Args:
        training: The entry `training` of `metrics.json`.
    """
    changes = training.get("changes")
    if not changes:
        return ""
    rows = [
        f"| {change['step']:,} | `{change['setting']}` | {format_value(change['old'])} | {format_value(change['new'])} |"
        for change in changes
    ]
    return (
        "\nThe run was resumed with other settings than those of the command:\n\n"
        "| from step | setting | before | after |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def render_evaluation_section(metrics: dict[str, Any], scored_positions: int | None = None) -> str:
    """Render the table of evaluations; "" without evaluations.

    Args:
        metrics: Content of `metrics.json`.
        scored_positions: Number of last positions that must be correct; None scores all.
    """
    evaluations = metrics["evaluations"]
    if not evaluations:
        return ""
    rows = [
        f"| {e['split']} | {e['n']:,} | {format_accuracy(e['accuracy_halted'], e['n'])} "
        f"| {e['mean_ticks']:.1f} of {e['iterations']} | {format_accuracy(e['accuracy_best'], e['n'])} (tick {e['best_tick']}) "
        f"| {format_accuracy(e['accuracy_last'], e['n'])} |"
        + "".join(f" {share:.2%} |" for share in e.get("figures", {}).values())
        for e in evaluations
    ]
    extra_columns = "".join(f" {name} |" for name in evaluations[0].get("figures", {}))
    return (
        "## Evaluation\n\n"
        "| held-out split | samples | accuracy when halted | mean ticks used | accuracy at the best fixed tick "
        f"| accuracy at the last tick |{extra_columns}\n"
        f"|---|---|---|---|---|---|{'---|' * extra_columns.count('|')}\n" + "\n".join(rows) + "\n\n"
        f"In brackets: 95% confidence intervals over samples (Wilson score). Halting policy: `{evaluations[0]['policy']}`. "
        f"An answer is correct when {describe_scored_part(scored_positions)} correct. The best fixed tick is "
        f"chosen on the same samples, so its accuracy is optimistic. Measured on {metrics['date']}.\n"
        + render_calibration(evaluations)
    )


def render_calibration(evaluations: list[dict[str, Any]]) -> str:
    """Render the calibration of the confidence on every split; "" without a confidence."""
    rows = [
        f"| {e['split']} | {name} | {e[key]['ece']:.3f} | {e[key]['brier']:.3f} | {format_auroc(e[key].get('auroc'))} |"
        for e in evaluations
        for key, name in (("reliability", "whole answer"), ("reliability_last", "last position"))
        if e.get(key)
    ]
    if not rows:
        return ""
    header = "| held-out split | confidence in | ECE | Brier score | AUROC |\n|---|---|---|---|---|\n"
    return f"\n### Calibration of the confidence\n\n{header}" + "\n".join(rows) + "\n"


def format_auroc(value: float | None) -> str:
    """Format an AUROC; a dash if all answers are correct or all are wrong."""
    return "-" if value is None else f"{value:.3f}"


def describe_scored_part(scored_positions: int | None) -> str:
    """Return which positions of an answer must be correct, as the beginning of a clause.

    Args:
        scored_positions: Number of last positions that must be correct; None scores all.
    """
    match scored_positions:
        case None:
            return "all of it is"
        case 1:
            return "its last position is"
    return f"its last {scored_positions} positions are"


def format_accuracy(accuracy: float, num_samples: int) -> str:
    """Format an accuracy with its 95% confidence interval.

    Args:
        accuracy: Share of correct answers.
        num_samples: Number of samples.
    """
    low, high = compute_wilson_interval(accuracy, num_samples)
    return f"{accuracy:.2%} [{100 * low:.2f}, {100 * high:.2f}]"


def compute_wilson_interval(share: float, num_samples: int) -> tuple[float, float]:
    """Compute the 95% Wilson score interval of a binomial proportion (Wilson, 1927).

    Args:
        share: Observed share of successes.
        num_samples: Number of trials, at least 1.

    Returns:
        Lower and upper bound, within [0, 1].
    """
    square = Z_95**2 / num_samples
    center = share + square / 2
    margin = Z_95 * math.sqrt(share * (1 - share) / num_samples + square / (4 * num_samples))
    return max(0.0, (center - margin) / (1 + square)), min(1.0, (center + margin) / (1 + square))


def render_difficulty_section(metrics: dict[str, Any]) -> str:
    """Render figures by difficulty; "" if the task has a single difficulty."""
    evaluations = [e for e in metrics["evaluations"] if e.get("by_difficulty")]
    if not evaluations:
        return ""
    rows = [
        f"| {e['split']} | {level} | {group['n']:,} | {format_accuracy(group['accuracy_halted'], group['n'])} | {group['mean_ticks']:.1f} |"
        for e in evaluations
        for level, group in e["by_difficulty"].items()
    ]
    ranks = ", ".join(f"{e['spearman']:.2f} ({e['split']})" for e in evaluations if e.get("spearman") is not None)
    return (
        "### By difficulty\n\n"
        "| held-out split | difficulty | samples | accuracy when halted | mean ticks used |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + (f"\n\nSpearman's rank correlation of ticks used and difficulty: {ranks}.\n" if ranks else "\n")
    )


def render_halting_section(halting: dict[str, Any]) -> str:
    """Render the halting policies and the meaning of the energy; "" without policies."""
    if not halting.get("policies"):
        return ""
    lines = [
        f"- **{name}**: `{record['policy']}`. {describe_evidence(PolicyRecord.model_validate(record))}"
        for name, record in halting["policies"].items()
    ]
    confidence = describe_confidence_fit(halting)
    return (
        "## Halting\n\nThresholds were chosen on calibration samples that nothing else has used.\n\n"
        + "\n".join(lines)
        + "\n"
        + (f"\n{confidence}\n" if confidence else "")
    )


def describe_confidence_fit(halting: dict[str, Any]) -> str:
    """Return how the confidence of answers is computed, as a few sentences; empty if the checkpoint gives none."""
    if not (fitted := halting.get("confidence")):
        p_correct = halting.get("energy", {}).get("p_correct")
        return (
            f"The model estimates the probability of a correct answer as `p_correct = {p_correct}`."
            if p_correct
            else ""
        )
    parts = [f"{fitted['whole'][name]:.3g} * {name}" for name in ("energy", "certainty", "log_odds")]
    return (
        f"The confidence `p_correct` is `sigmoid({' + '.join(parts)} + {fitted['whole']['bias']:.3g})`, and at most the "
        "answer's own probability, whose log odds are `log_odds`. Logits are divided by a temperature per tick, from "
        f"{fitted['temperatures'][0]:.3g} at the first to {fitted['temperatures'][-1]:.3g} at the last one. Both are fitted on "
        f"{fitted['n']:,} calibration samples."
    )


def render_limitations_section(task: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Render what the measurements do not show.

    Args:
        task: Content of `task.json`.
        metrics: Content of `metrics.json`.
    """
    limitations = [
        f"The model answers inputs of the task *{task['task']}* only. Inputs that differ from its training data were "
        "measured only where the evaluation names a split of them."
    ]
    if metrics["evaluations"]:
        limitations += [
            "All figures come from one run with one seed. The confidence intervals cover the choice of the test samples, "
            "not the choice of the seed.",
            "Halting thresholds were chosen on samples like those of the first split. Their guarantees do not cover other "
            "data.",
        ]
        limitations += describe_accuracy_losses(metrics["evaluations"])
    else:
        limitations.append("The run has not finished: halting thresholds are not chosen, and accuracy is not measured.")
    return "## Limitations\n\n" + "\n".join(f"- {text}" for text in limitations) + "\n"


def describe_accuracy_losses(evaluations: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for every further split on which accuracy is lower than on the first one, beyond its interval."""
    first = evaluations[0]
    low, _ = compute_wilson_interval(first["accuracy_halted"], first["n"])
    return [
        f"On the split *{other['split']}* accuracy falls from {first['accuracy_halted']:.2%} to {other['accuracy_halted']:.2%}."
        for other in evaluations[1:]
        if compute_wilson_interval(other["accuracy_halted"], other["n"])[1] < low
    ]
