"""Collect the figures of training runs that are compared in docs/experiments.md.

    python -m benchmarks.compare_runs RUN [RUN ...] --json FILE

Each RUN is a run directory of `python -m training train`. Its command, its settings of task, model, loss and optimiser, its figures on
validation samples and, if it is finished, its evaluation on test samples are copied; nothing is measured here.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.paths import write_figures
from training.run_dir import RunDir

FIGURES = {  # accuracy without halting -> the tick that answers
    "accuracy_certain": "most certain tick",
    "accuracy_best": "best fixed tick",
    "accuracy_last": "last tick",
}


def collect_run(path: Path, every: int = 1) -> dict[str, Any]:
    """Return the figures of a run.

    Args:
        path: Run directory.
        every: Keep the evaluations at multiples of this many steps only.

    Raises:
        ValueError: The directory holds no run.
    """
    run_dir = RunDir(path)
    config = run_dir.load_config()
    lines = [json.loads(line) for line in run_dir.metrics_file.read_text("utf-8").splitlines()]
    validations = [
        {"step": line["step"], **{name: line[f"validation_{name}"] for name in FIGURES}}
        for line in lines
        if "validation_accuracy_best" in line and line["step"] % every == 0
    ]
    metrics_file = run_dir.final_checkpoint_dir / "metrics.json"
    evaluations = json.loads(metrics_file.read_text("utf-8"))["evaluations"] if metrics_file.is_file() else []
    return {
        "name": path.name,
        "command": run_dir.read_command(),
        "changes": [
            {name: change[name] for name in ("step", "setting", "old", "new")} for change in run_dir.history.read()
        ],
        "tick_reduction": config.loss.tick_reduction,
        "is_taught": config.loss.has_auxiliary_loss,
        "steps": config.num_steps,
        "batch_size": config.train.batch_size,
        "eval_samples": config.train.eval_samples,
        "seed": config.train.seed,
        "settings": config.model_dump(mode="json", include={"task", "model", "loss", "optim"}),
        "validations": validations,
        "tests": [
            {
                name: evaluation[name]
                for name in ("split", "n", "accuracy_halted", "mean_ticks", "policy", *list(FIGURES)[1:])
            }
            for evaluation in evaluations
        ],
    }


def render_table(figures: dict[str, Any]) -> str:
    """Render the validation accuracy of the runs by step, and their commands."""
    runs = figures["runs"]
    lines = [
        "| step | " + " | ".join(f"`{run['name']}`" for run in runs) + " |",
        "|---" * (len(runs) + 1) + "|",
    ]
    steps = sorted({line["step"] for run in runs for line in run["validations"]})
    for step in steps:
        cells = []
        for run in runs:
            line = next((line for line in run["validations"] if line["step"] == step), None)
            cells.append(" / ".join(f"{line[name]:.1%}" for name in FIGURES) if line else "-")
        lines.append(f"| {step:,} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Share of validation samples with all positions correct: {' / '.join(f'at the {tick}' for tick in FIGURES.values())}.",
        "",
        *(format_run(run) for run in runs),
    ]
    return "\n".join(lines)


def format_run(run: dict[str, Any]) -> str:
    """Format the command of a run and its accuracy on held-out samples."""
    if not run["tests"]:
        done = run["validations"][-1]["step"] if run["validations"] else 0
        result = f"unfinished, figures up to step {done:,} of {run['steps']:,}"
    else:
        result = f"{'; '.join(map(format_test, run['tests']))}; policy `{run['tests'][0]['policy']}`"
    changes = "".join(
        f", then `{change['setting']}={format_setting(change['new'])}` from step {change['step']:,} on"
        for change in run["changes"]
    )
    return (
        f"- `{run['name']}`: {result}; batches of {run['batch_size']}, seed {run['seed']}. `{run['command']}`{changes}"
    )


def format_setting(value: Any) -> str:
    """Format the value of a setting as a recipe states it, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("...\n").strip()


def format_test(test: dict[str, Any]) -> str:
    """Format the accuracy on one held-out split."""
    return (
        f"{test['split']}: {test['accuracy_halted']:.2%} on {test['n']:,} samples in {test['mean_ticks']:.1f} ticks, "
        f"best fixed tick {test['accuracy_best']:.2%}"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_runs", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory")
    parser.add_argument("--json", type=Path, required=True, help="file to write, such as benchmarks/taught_parity.json")
    parser.add_argument("--every", type=int, default=1, metavar="STEPS", help="steps between the rows of the table")
    args = parser.parse_args()
    runs = [collect_run(path, args.every) for path in args.runs]
    figures = {"command": "python -m benchmarks.compare_runs", "runs": runs}
    write_figures(args.json, figures)
    print(render_table(figures))


if __name__ == "__main__":
    main()
