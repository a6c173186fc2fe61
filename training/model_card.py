"""The model card of a checkpoint, written from its files alone."""

import io
from typing import Any

import yaml

from ctm.checkpoint.metadata import PolicyRecord
from ctm.config import get_backbone_type, infer_model_type

ACCURACY_PLOT_FILE = "accuracy.png"
PIPELINE_TAGS = {
    "digits": "image-classification",
    "images": "image-classification",
}  # task -> the Hub's name for such tasks
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
    """Markdown with the Hub's front matter; with a repository's name also how to load it from there, and the picture."""
    parts = [
        render_front_matter(title, task, metrics),
        f"# {title}\n",
        f"{describe_model(config, num_parameters)} about the task *{task['task']}* through the backbone `{get_backbone_type(config)}`.\n",
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
    """What a checkpoint is called: what thinks, and about what."""
    return f"{MODEL_TYPE_NAMES[infer_model_type(config)]}, {task.lower()}"


def describe_model(config: dict[str, Any], num_parameters: int) -> str:
    """What it is, of which size, and for how long it thinks."""
    width, ticks = config["d_model"], config.get("iterations", 1)
    match infer_model_type(config):
        case "lstm":
            layers = f"{config['num_layers']} layer{'s' if config['num_layers'] > 1 else ''} of {width} units"
            return f"An LSTM baseline of {num_parameters:,} parameters: {layers}, thinking for up to {ticks} ticks"
        case "ff":
            return f"A feed-forward baseline of {num_parameters:,} parameters: one hidden layer of {width} units, asked once"
    return (
        f"A Continuous Thought Machine of {num_parameters:,} parameters: {width} neurons that each remember "
        f"{config['memory_length']} ticks, thinking for up to {ticks} ticks"
    )


def render_front_matter(title: str, task: dict[str, Any], metrics: dict[str, Any]) -> str:
    """What the Hub's page reads: licence, tags, and the measured figures as a model index."""
    values: dict[str, Any] = {"license": "mit", "library_name": "ctm"}
    kind = PIPELINE_TAGS.get(task["task"])
    if kind:
        values["pipeline_tag"] = kind
    data = task.get("settings", {}).get("data")  # a data set of the Hub
    if data:
        values["datasets"] = [data]
    values["tags"] = ["continuous-thought-machine", "adaptive-computation", task["task"]]
    if results := [
        build_model_index_entry(task["task"], kind, data or task["task"], evaluation)
        for evaluation in metrics["evaluations"]
    ]:
        values["model-index"] = [{"name": title, "results": results}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def build_model_index_entry(
    task: str, pipeline_tag: str | None, dataset: str, evaluation: dict[str, Any]
) -> dict[str, Any]:
    """One evaluation in the form of the Hub's model index."""
    found = (
        ("accuracy", "accuracy when halted", evaluation["accuracy_halted"]),
        ("accuracy", "accuracy at the best fixed tick", evaluation["accuracy_best"]),
        ("mean_ticks", f"mean ticks used of {evaluation['iterations']}", evaluation["mean_ticks"]),
    )
    return {
        "task": {"type": pipeline_tag or "other", "name": task},
        "dataset": {"type": dataset, "name": dataset, "split": evaluation["split"]},
        "metrics": [{"type": kind, "name": name, "value": round(value, 4)} for kind, name, value in found],
    }


def render_usage_section(repo: str, halting: dict[str, Any]) -> str:
    """How to load it, in five lines."""
    rule = halting.get("policies", {}).get(halting.get("default"), {}).get("policy", "certainty>0.9")
    return (
        "## Use\n\n```python\n"
        "from ctm.checkpoint import load\nfrom ctm.stores import HubStore\nfrom inference import Engine, parse\n\n"
        f'machine = load(HubStore().fetch("{repo}")).machine\n'
        f'verdict = Engine(machine, parse("{rule}")).run(inputs)  # .answer, .ticks, .energy\n```\n'
    )


def render_accuracy_plot(metrics: dict[str, Any]) -> bytes:
    """Accuracy by tick on the held-out splits, and where halting ends up, as a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415  half a second, which no training has to wait for

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
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def render_evaluation_section(metrics: dict[str, Any], scored_positions: int | None = None) -> str:
    """The table of evaluations, and where they come from; `judged` last positions make an answer right, or all."""
    train = metrics["training"]
    if not metrics["evaluations"]:
        so_far = metrics.get("validation", {})
        figures = ", ".join(f"{name.removeprefix('validation_')} {value}" for name, value in so_far.items())
        return (
            f"## Still training\n\nThis is step {train['steps']:,} of a run that goes on, begun with `{train['command']}`. "
            f"No held-out figures yet{'; on validation samples: ' + figures if figures else ''}.\n"
        )
    rows = [
        f"| {e['split']} | {e['n']:,} | {e['accuracy_halted']:.2%} | {e['mean_ticks']:.1f} of {e['iterations']} "
        f"| {e['accuracy_best']:.2%} (tick {e['best_tick']}) | {e['accuracy_last']:.2%} |"
        + "".join(f" {share:.2%} |" for share in e.get("figures", {}).values())
        for e in metrics["evaluations"]
    ]
    more = "".join(f" {name} |" for name in metrics["evaluations"][0].get("figures", {}))
    right = (
        "all of it is"
        if scored_positions is None
        else "its last place is"
        if scored_positions == 1
        else f"its last {scored_positions} places are"
    )
    return (
        "## Measured\n\n"
        f"| held-out split | samples | halted accuracy | mean ticks used | best fixed tick | last tick |{more}\n"
        f"|---|---|---|---|---|---|{'---|' * more.count('|')}\n" + "\n".join(rows) + "\n\n"
        f"Halted with `{metrics['evaluations'][0]['policy']}`; the answer counts as right when {right}. Trained with "
        f"`{train['command']}` (seed {train['seed']}, {train['steps']:,} steps, {train['minutes']:.0f} minutes on "
        f"{train['hardware']}), measured {metrics['date']}.\n"
    )


def render_difficulty_section(metrics: dict[str, Any]) -> str:
    """Whether harder samples take longer; empty for tasks that tell no difficulties apart."""
    told = [e for e in metrics["evaluations"] if e.get("by_difficulty")]
    if not told:
        return ""
    rows = [
        f"| {e['split']} | {level} | {group['n']:,} | {group['accuracy_halted']:.2%} | {group['mean_ticks']:.1f} |"
        for e in told
        for level, group in e["by_difficulty"].items()
    ]
    ranks = ", ".join(f"{e['spearman']:.2f} ({e['split']})" for e in told if e.get("spearman") is not None)
    return (
        "## Difficulty\n\n"
        "| held-out split | difficulty | samples | halted accuracy | mean ticks used |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + (f"\n\nSpearman's rank correlation of ticks used and difficulty: {ranks}.\n" if ranks else "\n")
    )


def render_halting_section(halting: dict[str, Any]) -> str:
    if not halting.get("policies"):
        return ""
    meaning = halting.get("energy", {}).get("p_correct")
    lines = [
        f"- **{name}**: `{rule['policy']}`. {PolicyRecord.model_validate(rule).describe()}"
        for name, rule in halting["policies"].items()
    ]
    energy = (
        f"\nProbability that the answer is right, by this machine's own estimate: `p_correct = {meaning}`.\n"
        if meaning
        else ""
    )
    return (
        "## Halting\n\nThresholds were chosen on calibration samples that nothing else has seen.\n\n"
        + "\n".join(lines)
        + "\n"
        + energy
    )
