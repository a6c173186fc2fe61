"""The model card of a checkpoint, written from its files alone."""

from typing import Any

CREDIT = """\
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


def write_card(
    title: str,
    config: dict[str, Any],
    task: dict[str, Any],
    halting: dict[str, Any],
    metrics: dict[str, Any],
    parameters: int,
) -> str:
    """Markdown with the Hub's front matter."""
    parts = [
        front_matter(task),
        f"# {title}\n",
        f"A Continuous Thought Machine of {parameters:,} parameters: {config['d_model']} neurons that each remember "
        f"{config['memory_length']} ticks, thinking for up to {config['iterations']} ticks about the task "
        f"*{task['task']}* through the backbone `{config['backbone_type']}`.\n",
        measured(metrics),
        halting_section(halting),
        CREDIT,
        CITATION,
    ]
    return "\n".join(part for part in parts if part)


def front_matter(task: dict[str, Any]) -> str:
    tags = "".join(f"- {tag}\n" for tag in ("continuous-thought-machine", "adaptive-computation", task["task"]))
    kind = "pipeline_tag: image-classification\n" if task["task"] == "digits" else ""
    return f"---\nlicense: mit\nlibrary_name: ctm\n{kind}tags:\n{tags}---\n"


def measured(metrics: dict[str, Any]) -> str:
    """The table of evaluations, and where they come from."""
    rows = [
        f"| {e['split']} | {e['n']:,} | {e['accuracy_halted']:.2%} | {e['mean_ticks']:.1f} of {e['iterations']} "
        f"| {e['accuracy_best']:.2%} (tick {e['best_tick']}) | {e['accuracy_last']:.2%} |"
        for e in metrics["evaluations"]
    ]
    train = metrics["training"]
    return (
        "## Measured\n\n"
        "| held-out split | samples | halted accuracy | mean ticks used | best fixed tick | last tick |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"Halted with `{metrics['evaluations'][0]['policy']}`; the answer counts as right when all of it is. Trained with "
        f"`{train['command']}` (seed {train['seed']}, {train['steps']:,} steps, {train['minutes']:.0f} minutes on "
        f"{train['hardware']}), measured {metrics['date']}.\n"
    )


def halting_section(halting: dict[str, Any]) -> str:
    if not halting.get("policies"):
        return ""
    meaning = halting.get("energy", {}).get("p_correct")
    lines = [
        f"- **{name}**: `{rule['policy']}`; on {rule['n']:,} calibration samples {rule['accuracy']:.2%} right in "
        f"{rule['mean_ticks']:.1f} ticks (best fixed tick: {rule['best_fixed_accuracy']:.2%} at {rule['best_fixed_tick']})"
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
