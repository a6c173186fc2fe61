"""Model card of a checkpoint, rendered from its metadata alone."""

import io
from typing import Any

import yaml

from ctm.checkpoint.metadata import PolicyRecord
from ctm.config import get_backbone_type, infer_model_type
from inference.halting.evidence import describe_evidence
from training.settings_aliases import rename_task_settings

ACCURACY_PLOT_FILE = "accuracy.png"
# Pipeline tags of the Hub by task.
PIPELINE_TAGS = {
    "digits": "image-classification",
    "images": "image-classification",
}
MODEL_TYPE_NAMES = {"ctm": "CTM", "lstm": "LSTM baseline", "ff": "Feed-forward baseline"}

CREDITS = """\
## Credits

The Continuous Thought Machine is by Luke Darlow, Ciaran Regan, Sebastian Risi, Jeffrey Seely and Llion Jones
([paper](https://arxiv.org/abs/2505.05522), [code](https://github.com/SakanaAI/continuous-thought-machines), Sakana AI).
Energy as a reason to halt was proposed in the energy-halting fork
([udapy](https://github.com/udapy/continuous-thought-machines)).
"""

CITATION = """\
```bibtex
@article{darlow2025ctm,
  title   = {Continuous Thought Machines},
  author  = {Darlow, Luke and Regan, Ciaran and Risi, Sebastian and Seely, Jeffrey and Jones, Llion},
  journal = {arXiv preprint arXiv:2505.05522},
  year    = {2025}
}
```
"""


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
        title: heading of the card.
        config: content of `config.json`.
        task: content of `task.json`.
        halting: content of `halting.json`.
        metrics: content of `metrics.json`.
        num_parameters: number of parameters of the model.
        repo: namespace/name of the repository. With it the card has a usage section and the accuracy plot.
    """
    parts = [
        render_front_matter(title, task, metrics),
        f"# {title}\n",
        f"{describe_model(config, num_parameters)} on the task *{task['task']}*, with the backbone `{get_backbone_type(config)}`.\n",
        render_evaluation_section(metrics, task.get("judged")),
        render_difficulty_section(metrics),
        f"![accuracy by tick]({ACCURACY_PLOT_FILE})\n" if repo and metrics["evaluations"] else "",
        render_halting_section(halting),
        render_usage_section(repo, halting) if repo else "",
        CREDITS,
        CITATION,
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


def render_front_matter(title: str, task: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Render the front matter that the Hub reads: licence, tags, and the evaluations as a model index."""
    values: dict[str, Any] = {"license": "mit", "library_name": "ctm"}
    pipeline_tag = PIPELINE_TAGS.get(task["task"])
    if pipeline_tag:
        values["pipeline_tag"] = pipeline_tag
    dataset = rename_task_settings(task.get("task", ""), task.get("settings", {})).get(
        "dataset"
    )  # a data set of the Hub
    if dataset:
        values["datasets"] = [dataset]
    values["tags"] = ["continuous-thought-machine", "adaptive-computation", task["task"]]
    if results := [
        build_model_index_entry(task["task"], pipeline_tag, dataset or task["task"], evaluation)
        for evaluation in metrics["evaluations"]
    ]:
        values["model-index"] = [{"name": title, "results": results}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def build_model_index_entry(
    task: str, pipeline_tag: str | None, dataset: str, evaluation: dict[str, Any]
) -> dict[str, Any]:
    """Build the entry of one evaluation for the model index of the Hub."""
    figures = (
        ("accuracy", "accuracy when halted", evaluation["accuracy_halted"]),
        ("accuracy", "accuracy at the best fixed tick", evaluation["accuracy_best"]),
        ("mean_ticks", f"mean ticks used of {evaluation['iterations']}", evaluation["mean_ticks"]),
    )
    return {
        "task": {"type": pipeline_tag or "other", "name": task},
        "dataset": {"type": dataset, "name": dataset, "split": evaluation["split"]},
        "metrics": [{"type": kind, "name": name, "value": round(value, 4)} for kind, name, value in figures],
    }


def render_usage_section(repo: str, halting: dict[str, Any]) -> str:
    """Render the code that loads and runs the checkpoint."""
    policy = halting.get("policies", {}).get(halting.get("default"), {}).get("policy", "certainty>0.9")
    return (
        "## Use\n\n```python\n"
        "from ctm.checkpoint import load\nfrom ctm.stores import HubStore\nfrom inference import Engine, parse\n\n"
        f'model = load(HubStore().fetch("{repo}")).model\n'
        f'result = Engine(model, parse("{policy}")).run(inputs)  # .answer, .ticks, .energy\n```\n'
    )


def render_accuracy_plot(metrics: dict[str, Any]) -> bytes:
    """Plot accuracy by tick on the held-out splits, and the halted accuracy at the mean ticks, as a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415  its import takes half a second

    figure = Figure(figsize=(7, 3.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    for evaluation in metrics["evaluations"]:
        accuracy = [100 * value for value in evaluation["accuracy_by_tick"]]
        (line,) = axes.plot(range(1, len(accuracy) + 1), accuracy, label=f"{evaluation['split']}, every tick")
        axes.scatter(
            evaluation["mean_ticks"],
            100 * evaluation["accuracy_halted"],
            color=line.get_color(),
            marker="*",
            s=160,
            zorder=3,
            label=f"{evaluation['split']}, halted (mean ticks)",
        )
    axes.set(xlabel="tick", ylabel="right, %", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def render_evaluation_section(metrics: dict[str, Any], scored_positions: int | None = None) -> str:
    """Render the table of evaluations, and how the model was trained.

    Args:
        metrics: content of `metrics.json`. Without evaluations the section describes a run that is still training.
        scored_positions: number of last positions that must be correct; None scores all.
    """
    train = metrics["training"]
    if not metrics["evaluations"]:
        validation = metrics.get("validation", {})
        figures = ", ".join(f"{name.removeprefix('validation_')} {value}" for name, value in validation.items())
        return (
            f"## Still training\n\nThis is step {train['steps']:,} of a run that is still training, started with `{train['command']}`. "
            f"No held-out figures yet{'; on validation samples: ' + figures if figures else ''}.\n"
        )
    rows = [
        f"| {e['split']} | {e['n']:,} | {e['accuracy_halted']:.2%} | {e['mean_ticks']:.1f} of {e['iterations']} "
        f"| {e['accuracy_best']:.2%} (tick {e['best_tick']}) | {e['accuracy_last']:.2%} |"
        + "".join(f" {share:.2%} |" for share in e.get("figures", {}).values())
        for e in metrics["evaluations"]
    ]
    extra_columns = "".join(f" {name} |" for name in metrics["evaluations"][0].get("figures", {}))
    scored_part = (
        "all of it is"
        if scored_positions is None
        else "its last position is"
        if scored_positions == 1
        else f"its last {scored_positions} positions are"
    )
    return (
        "## Measured\n\n"
        f"| held-out split | samples | halted accuracy | mean ticks used | best fixed tick | last tick |{extra_columns}\n"
        f"|---|---|---|---|---|---|{'---|' * extra_columns.count('|')}\n" + "\n".join(rows) + "\n\n"
        f"Halted with `{metrics['evaluations'][0]['policy']}`; the answer counts as right when {scored_part}. Trained with "
        f"`{train['command']}` (seed {train['seed']}, {train['steps']:,} steps, {train['minutes']:.0f} minutes on "
        f"{train['hardware']}), measured {metrics['date']}.\n"
    )


def render_difficulty_section(metrics: dict[str, Any]) -> str:
    """Render figures by difficulty; "" if the task has a single difficulty."""
    evaluations = [e for e in metrics["evaluations"] if e.get("by_difficulty")]
    if not evaluations:
        return ""
    rows = [
        f"| {e['split']} | {level} | {group['n']:,} | {group['accuracy_halted']:.2%} | {group['mean_ticks']:.1f} |"
        for e in evaluations
        for level, group in e["by_difficulty"].items()
    ]
    ranks = ", ".join(f"{e['spearman']:.2f} ({e['split']})" for e in evaluations if e.get("spearman") is not None)
    return (
        "## Difficulty\n\n"
        "| held-out split | difficulty | samples | halted accuracy | mean ticks used |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + (f"\n\nSpearman's rank correlation of ticks used and difficulty: {ranks}.\n" if ranks else "\n")
    )


def render_halting_section(halting: dict[str, Any]) -> str:
    """Render the halting policies and the meaning of the energy; "" without policies."""
    if not halting.get("policies"):
        return ""
    p_correct = halting.get("energy", {}).get("p_correct")
    lines = [
        f"- **{name}**: `{record['policy']}`. {describe_evidence(PolicyRecord.model_validate(record))}"
        for name, record in halting["policies"].items()
    ]
    energy = (
        f"\nProbability that the answer is right, as the model estimates it: `p_correct = {p_correct}`.\n"
        if p_correct
        else ""
    )
    return (
        "## Halting\n\nThresholds were chosen on calibration samples that nothing else has used.\n\n"
        + "\n".join(lines)
        + "\n"
        + energy
    )
